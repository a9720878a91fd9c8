"""The sdists: what is in them, and that they build the same wheels as the tree."""

import tarfile
import zipfile

import pytest

from tests.packaging.conftest import PACKAGES, PROJECTS, VERSION, Built

#: What an sdist has besides packages.
FILES = {"LICENSE", "PKG-INFO", "README.md", "pyproject.toml"}


@pytest.mark.parametrize("name", PROJECTS)
def test_an_sdist_builds_the_same_wheel_as_the_tree(built: Built, name: str) -> None:
    with (
        zipfile.ZipFile(built.wheel(name)) as direct,
        zipfile.ZipFile(built.wheel(name, "packed")) as packed,
    ):
        assert packed.namelist() == direct.namelist()
        for member in direct.namelist():
            assert packed.read(member) == direct.read(member), member


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("runqueue", {"runqueue", "CHANGELOG.md"}),
        ("runqueue_server", {*PACKAGES, "hatch_build.py", "NOTICE"}),
    ],
)
def test_an_sdist_holds_its_packages_and_what_builds_them(
    built: Built, name: str, wanted: set[str]
) -> None:
    with tarfile.open(built.sdist(name)) as sdist:
        names = sdist.getnames()

    assert {path.split("/")[0] for path in names} == {f"{name}-{VERSION}"}
    # hatchling adds the .gitignore by itself.
    assert {path.split("/")[1] for path in names} - {".gitignore"} == wanted | FILES
