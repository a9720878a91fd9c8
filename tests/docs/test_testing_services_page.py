"""The page on testing a service: its examples pass, and so do the tests of the service."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import examples

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/testing_services.md").read_text()
BLOCKS = {
    found[1]: block
    for block in examples(PAGE, "python")
    if (found := re.match(r"# (\w+\.py)\n", block.code))
}
#: pytest by itself: none of this project's options, and an import mode of most services.
PYTEST = ("-m", "pytest", "-q", "-c", os.devnull, "-p", "no:cacheprovider", "-p", "no:schemathesis")


def run(folder: Path, *arguments: str) -> str:
    """What Python prints in a folder that is a service's."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the examples of the page, and those that it names."""
    for name, block in BLOCKS.items():
        (tmp_path / name).write_text(block.code)
    for example in ("fastapi_service.py", "django_service.py"):
        shutil.copy(ROOT / "examples" / example, tmp_path)
    return tmp_path


@pytest.mark.acceptance
def test_every_example_of_the_page_passes(folder: Path) -> None:
    tests = [name for name in BLOCKS if name.startswith("test_")]
    count = sum(block.code.count("\ndef test_") for block in BLOCKS.values())

    assert len(BLOCKS) == len(examples(PAGE, "python"))
    assert f"{count} passed" in run(folder, *PYTEST, *tests)


@pytest.mark.acceptance
def test_the_example_without_pytest_prints_what_the_page_says(folder: Path) -> None:
    assert run(folder, "without_pytest.py") == BLOCKS["without_pytest.py"].prints


@pytest.mark.acceptance
@pytest.mark.parametrize("processes", ["0", "2"])
def test_the_tests_of_the_service_pass(processes: str) -> None:
    told = re.search(r"A service with (\d+) tests", PAGE)
    options = ("--rootdir=.", "-n", processes)
    printed = run(ROOT / "examples/tested_service", *PYTEST, *options, ".")

    assert told is not None
    assert f"{told[1]} passed" in printed
