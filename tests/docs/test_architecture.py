"""ARCHITECTURE.md, the decisions and the list of modules: short, complete, and true of the tree."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DECISIONS = ROOT / "docs/decisions"
#: Each leads readers to files of the tree.
GUIDES = ("ARCHITECTURE.md", "CONTRIBUTING.md", "docs/simulation.md", "docs/where_things_are.md")
#: A file or a folder in backticks; `{a,b}` stands for several.
_PATH = re.compile(r"`((?:[\w.-]+/)+(?:\{[\w,]+\})?[\w.-]*)")


def numbered() -> list[Path]:
    return sorted(DECISIONS.glob("[0-9]*.md"))


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
    paths = [path for path in named_paths(text) if (ROOT / path.split("/")[0]).exists()]

    assert len(paths) > 5
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


def test_the_architecture_is_read_in_ten_minutes() -> None:
    assert len((ROOT / "ARCHITECTURE.md").read_text().split()) <= 2500


@pytest.mark.parametrize("page", numbered(), ids=lambda page: page.stem[:4])
def test_a_decision_says_its_date_context_and_consequences(page: Path) -> None:
    lines = page.read_text().splitlines()

    assert re.fullmatch(rf"# {page.stem[:4]} \S.*", lines[0])
    assert re.match(r"\*\d{4}-\d\d-\d\d · ", lines[2])
    headings = [line for line in lines if line.startswith("## ")]
    assert headings == ["## Context", "## Decision", "## Consequences"]


def test_the_index_lists_every_decision_once_in_order() -> None:
    index = (DECISIONS / "index.md").read_text()
    listed = re.findall(r"^\| \[(\d{4})\]\(([^)]+)\) \| (.*?) \|", index, re.MULTILINE)

    assert [name for _, name, _ in listed] == [page.name for page in numbered()]
    for page, (number, _, title) in zip(numbered(), listed, strict=True):
        assert page.read_text().splitlines()[0] == f"# {number} {title}"
    assert [number for number, _, _ in listed] == [f"{n:04}" for n in range(1, len(listed) + 1)]
