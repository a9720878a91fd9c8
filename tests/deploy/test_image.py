"""The Dockerfile and the locks that it installs by, held against what the distributions need.

`tests/packaging/test_image.py` runs the install steps.
"""

import re
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
LOCKS = ("requirements", "build")
#: Where the image runs, for what depends on that.
IMAGE = {
    "implementation_name": "cpython",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": "3.13.0",
    "python_version": "3.13",
    "sys_platform": "linux",
}


def locked(name: str) -> dict[str, str]:
    """The packages of a lock, each with its version; every one has hashes."""
    text = (ROOT / f"deploy/image/{name}.lock").read_text().replace("\\\n", " ")
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            package, version = re.split(r"==| ", line)[:2]
            assert " --hash=sha256:" in line, line
            found[package] = version
    return found


def pinned() -> dict[str, str]:
    """The versions that the tests run with."""
    lines = (ROOT / "constraints.txt").read_text().split()
    return {
        canonicalize_name(name): version for name, _, version in (s.partition("==") for s in lines)
    }


def needed(name: str, extras: frozenset[str] = frozenset()) -> Iterator[Requirement]:
    """Go through what a distribution needs in the image, and what that needs."""
    for line in requires(name) or ():
        one = Requirement(line)
        environments = [{**IMAGE, "extra": extra} for extra in extras or {""}]
        if one.marker is None or any(map(one.marker.evaluate, environments)):
            yield one
            yield from needed(one.name, frozenset(one.extras))


@pytest.mark.parametrize(
    ("lock", "name", "extras"),
    [("requirements", "runqueue-server", {"otel", "parquet"}), ("build", "hatchling", set())],
)
def test_a_lock_has_all_that_is_needed_in_a_version_that_will_do(
    lock: str, name: str, extras: set[str]
) -> None:
    versions = locked(lock)
    wanted = [one for one in needed(name, frozenset(extras)) if one.name != "runqueue"]

    assert len(wanted) > 3
    for one in wanted:
        version = versions[canonicalize_name(one.name)]
        assert one.specifier.contains(version, prereleases=True), f"make lock: {one}, {version}"


@pytest.mark.parametrize("lock", LOCKS)
def test_the_image_has_the_versions_that_the_tests_run_with(lock: str) -> None:
    tested = pinned()
    shared = {name: version for name, version in locked(lock).items() if name in tested}

    assert len(shared) > 3
    assert {name: tested[name] for name in shared} == shared, "make lock"


def test_every_stage_has_python_3_13_or_later() -> None:
    stages = re.findall(r"^FROM python:(\d+)\.(\d+)-slim", DOCKERFILE, re.MULTILINE)

    assert len(stages) == DOCKERFILE.count("\nFROM ") == 2
    assert all((int(major), int(minor)) >= (3, 13) for major, minor in stages)


def test_its_processes_are_no_root_s() -> None:
    last_stage = DOCKERFILE.rpartition("\nFROM ")[2]
    user, command = last_stage.index("\nUSER runqueue"), last_stage.index("\nCMD ")

    assert last_stage.count("\nUSER ") == 1
    assert user < command
    assert "useradd --system --uid 10001 --home-dir /app runqueue" in last_stage
