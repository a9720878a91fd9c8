"""What a type checker says to those who use the package, without any plugin or setting of ours."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.docs.pages import examples

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.fixture(scope="module")
def service(wheel: zipfile.ZipFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The environment of a service: the wheel is installed, the tree is not on its path."""
    home = tmp_path_factory.mktemp("service")
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(home)], timeout=60, check=True
    )
    (packages,) = home.glob("lib/python*/site-packages")
    wheel.extractall(packages)
    # `api_client` is used from the source tree: it is no part of the wheel.
    shutil.copytree(
        ROOT / "api_client",
        packages / "api_client",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    (packages / "api_client/py.typed").touch()
    # What both depend on comes from our environment. Its own .pth files, with them the editable
    # tree, are not read from there.
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home


def programs(folder: Path) -> list[str]:
    """Write down every example of the pages and of `examples/`, and return their files."""
    for page in PAGES:
        for example in examples(page.read_text(), "python"):
            name = f"{page.stem}_line_{example.line}.py".lower()
            (folder / name).write_text(example.code)
    for path in (ROOT / "examples").glob("*.py"):
        shutil.copy(path, folder)
    return sorted(path.name for path in folder.glob("*.py"))


@pytest.mark.timeout(400)
def test_a_strict_type_checker_takes_every_example_against_the_installed_wheel(
    service: Path, tmp_path: Path
) -> None:
    files = programs(tmp_path)
    assert len(files) > 30
    settings = tmp_path / "mypy.ini"
    untyped = "[mypy-celery.*,django.*]\nignore_missing_imports = True\n"  # they ship no types
    settings.write_text(f"[mypy]\n{untyped}")

    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--config-file", str(settings)),
            *("--python-executable", str(service / "bin/python")),
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
