"""The house has limits: what is added makes room first, and what goes lowers them."""

import ast
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.generate import MARKER
from tools.typescript import CLIENT

ROOT = Path(__file__).parents[2]
PRODUCT = (
    "runqueue",
    "api_client",
    "archive",
    "webhooks",
    "worker",
    "gateway",
    "launcher",
    "config",
)
LONGEST_FUNCTION = 80


def files() -> Iterator[Path]:
    """The files of the repository."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, check=True, text=True
    )
    yield from (ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file())


def is_product(path: Path) -> bool:
    """Whether a file is one of the product's, and was written by hand."""
    is_inside = path.relative_to(ROOT).parts[0] in PRODUCT
    return is_inside and not path.read_text().startswith(MARKER)


def lines(paths: list[Path]) -> int:
    """How many lines files have."""
    return sum(len(path.read_text().splitlines()) for path in paths)


def typescript(folder: str) -> list[Path]:
    """What of a folder of the TypeScript client was written by hand."""
    found = [path for path in files() if path.is_relative_to(CLIENT / folder)]
    return [path for path in found if not path.read_text().startswith("// Made of ")]


CODE = [path for path in files() if path.suffix in {".py", ".lua"}]


@pytest.mark.parametrize(
    ("what", "found", "most"),
    [
        ("lines of product", lines([path for path in CODE if is_product(path)]), 67_500),
        (
            "lines of tests and lab",
            lines([p for p in CODE if p.relative_to(ROOT).parts[0] not in PRODUCT]),
            114_600,
        ),
        (
            "words of docs",
            sum(len(path.read_text().split()) for path in files() if path.suffix == ".md"),
            39_400,
        ),
        ("lines of TypeScript", lines(typescript("src")), 600),
        ("lines of its tests", lines(typescript("test")), 390),
    ],
)
def test_there_is_no_more_than_there_may_be(what: str, found: int, most: int) -> None:
    assert found <= most, f"{what}: make room first, or take something away"


def test_no_folder_has_more_files_than_a_reader_finds_his_way_in() -> None:
    counts = Counter(path.parent for path in CODE if path.name != "__init__.py")
    large = {str(path.relative_to(ROOT)): n for path, n in counts.items() if n > 22}
    in_product = {name for name in large if name.split("/")[0] in PRODUCT}
    assert not in_product, large


def test_no_function_is_longer_than_80_lines() -> None:
    long = []
    for path in CODE:
        if path.suffix != ".py":
            continue  # those of the scripts: tests/runqueue/store/test_scripts.py
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > LONGEST_FUNCTION:
                    long.append(f"{path.relative_to(ROOT)}: {node.name} has {length} lines")
    assert not long
