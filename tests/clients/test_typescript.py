"""The TypeScript client: made of the OpenAPI file that the gateway serves, and tried on Node."""

import os
import shutil
import subprocess
import sys

import pytest

from tools.typescript import (
    ANSWERS,
    CLIENT,
    OPENAPI,
    PROBLEMS,
    ROOT,
    TYPES,
    answers_text,
    head,
    openapi_text,
    problems_text,
    types_text,
)


def test_what_is_made_of_the_gateway_is_up_to_date() -> None:
    openapi = OPENAPI.read_text()
    assert openapi == openapi_text(), "run `make typescript`"
    assert PROBLEMS.read_text() == problems_text(openapi), "run `make typescript`"
    assert ANSWERS.read_text() == answers_text(openapi), "run `make typescript`"
    assert TYPES.read_text().startswith(head(openapi)), "run `make typescript`"


def test_the_package_has_the_license() -> None:
    assert (CLIENT / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node 20 or later")
def test_on_node_it_does_what_it_says() -> None:
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
        print(made.stdout)
        assert made.returncode == 0
    assert TYPES.read_text() == types_text(OPENAPI.read_text()), "run `make typescript`"
