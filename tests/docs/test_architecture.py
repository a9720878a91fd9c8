"""ARCHITECTURE.md and the other guides to the tree: complete, and true of it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: Each leads readers to files of the tree.
GUIDES = ("ARCHITECTURE.md", "CONTRIBUTING.md", "docs/decisions.md", "docs/testing.md")
#: A file or a folder in backticks; `{a,b}` stands for several.
_PATH = re.compile(r"`((?:[\w.-]+/)+(?:\{[\w,]+\})?[\w.-]*)")


def named_paths(text: str) -> Iterator[str]:
    """Yield the paths that a page names."""
    for found in _PATH.finditer(text):
        path = found[1]
        several = re.search(r"\{([\w,]+)\}", path)
        for one in several[1].split(",") if several else [""]:
            yield path.replace(several[0], one) if several else path


def stands_for_a_file(path: str) -> bool:
    """Tell whether a page may name this path: pages write `lua/` for `runqueue/lua/`."""
    return (ROOT / path).exists() or (ROOT / "runqueue" / path).exists()


@pytest.mark.parametrize("page", GUIDES)
def test_every_path_that_a_guide_names_is_in_the_tree(page: str) -> None:
    text = (ROOT / page).read_text()
    paths = [path for path in named_paths(text) if stands_for_a_file(path.split("/")[0])]

    assert paths
    assert [path for path in paths if not stands_for_a_file(path)] == []


def test_every_folder_of_the_tree_is_a_folder() -> None:
    (tree,) = re.findall(
        r"## The tree\n\n```\n(.*?)```", (ROOT / "ARCHITECTURE.md").read_text(), re.DOTALL
    )
    package, unknown, folders = "", [], set()
    for line in tree.splitlines():
        names = [
            name.rstrip("/") for name in re.findall(r"^ *((?:[\w-]+/ )*[\w-]+/)", line)[0].split()
        ]
        for name in names:
            folder = f"{package}/{name}" if line.startswith(" ") else name
            folders.add(folder)
            if not (ROOT / folder).is_dir():
                unknown.append(folder)
        if not line.startswith(" "):
            package = names[0]
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}

    assert unknown == []
    assert packages - {name.split("/")[0] for name in folders} == set()
    inside = {f"runqueue/{path.parent.name}" for path in ROOT.glob("runqueue/*/__init__.py")}
    assert inside - folders == set()
