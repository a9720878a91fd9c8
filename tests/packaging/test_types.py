"""What a type checker says to those who use the package, without any plugin or setting of ours."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import examples
from tests.packaging.conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.fixture(scope="module")
def python(programs: Path) -> Path:
    """The interpreter of an environment with both wheels; the tree is not on its path."""
    return programs / "python"


def write_examples(folder: Path) -> list[str]:
    """Write down every example of the pages and of `examples/`, and return their files."""
    for page in PAGES:
        for example in examples(page.read_text(), "python"):
            name = f"{page.stem}_line_{example.line}.py".lower()
            (folder / name).write_text(example.code)
    for path in (ROOT / "examples").glob("*.py"):
        shutil.copy(path, folder)
    return sorted(path.name for path in folder.glob("*.py"))


@pytest.mark.timeout(400)
def test_a_strict_type_checker_takes_every_example_against_the_installed_wheels(
    python: Path, tmp_path: Path
) -> None:
    files = write_examples(tmp_path)
    assert len(files) > 15
    settings = tmp_path / "mypy.ini"
    untyped = "[mypy-celery.*,django.*]\nignore_missing_imports = True\n"  # they ship no types
    settings.write_text(f"[mypy]\n{untyped}")

    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--config-file", str(settings)),
            *("--python-executable", str(python)),
            *("--cache-dir", str(tmp_path / "cache")),
            *files,
        ],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": ""},
        capture_output=True,
        text=True,
        timeout=380,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(400)
def test_pyright_takes_every_example_and_strictly_where_all_that_it_imports_has_types(
    python: Path, tmp_path: Path
) -> None:
    files = write_examples(tmp_path)
    untyped = re.compile("^from (celery|django|fastapi)", re.MULTILINE)
    strict = [name for name in files if not untyped.search((tmp_path / name).read_text())]
    assert len(strict) > 15
    settings = {
        "useLibraryCodeForTypes": False,  # of those that ship no types nothing is guessed
        "typeCheckingMode": "standard",
        "strict": strict,
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))

    done = subprocess.run(
        [sys.executable, "-m", "basedpyright", "--pythonpath", str(python)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=380,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
