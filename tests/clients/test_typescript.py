"""The TypeScript client: made of the OpenAPI file that the gateway serves, and tried on Node."""

import os
import shutil
import subprocess
import sys

import pytest

from tools.typescript import CLIENT, OPENAPI, TYPES, head, openapi_text


def test_the_openapi_file_is_up_to_date() -> None:
    assert OPENAPI.read_text() == openapi_text(), "run `make typescript`"


def test_the_types_are_made_of_it() -> None:
    assert TYPES.read_text().startswith(head(OPENAPI.read_text())), "run `make typescript`"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node 20 or later")
def test_it_does_on_node_what_it_says() -> None:
    for command in (["npm", "ci", "--no-audit", "--no-fund"], ["npm", "test"]):
        made = subprocess.run(
            command,
            cwd=CLIENT,
            env={**os.environ, "PYTHON": sys.executable},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert made.returncode == 0, made.stdout[-20_000:]
        print(made.stdout)
