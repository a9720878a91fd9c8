"""The structure of checkouts, measured the same way: `python -m bench.structure [FOLDER ...]`.

What is measured is the product's source: the packages below, without tests and tools. Generated
modules are left apart, and counted alone; they are modules in folders and imports like all others.
"""

import ast
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

PACKAGES: Final = (
    *("runqueue", "api_client", "webhooks", "worker", "gateway", "launcher", "config", "simulator"),
)
#: How the first line of a generated module begins.
GENERATED: Final = "# Generated from "
Graph = Mapping[str, set[str]]


def measure(root: Path) -> dict[str, int | float]:
    """Measure one checkout.

    Args:
        root: its folder.
    """
    found = [path for name in PACKAGES for path in sorted((root / name).rglob("*.py"))]
    generated = [path for path in found if path.read_text().startswith(GENERATED)]
    sources = [path for path in found if path not in generated]
    scripts = sorted((root / "runqueue" / "lua").rglob("*.lua"))
    trees = {path: ast.parse(path.read_text()) for path in sources}
    modules = {_module(root, path): ast.parse(path.read_text()) for path in found}
    graph = {name: set(_imports(name, tree, modules)) for name, tree in modules.items()}
    folders = _by_folder(graph)
    named = Counter(
        node.name
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    )
    largest = Counter(path.parent for path in (*found, *scripts) if path.name != "__init__.py")
    shared = _shared_lines(root, scripts)
    return {
        "files": len(sources) + len(scripts),
        "lines": sum(len(path.read_text().splitlines()) for path in (*sources, *scripts)),
        "Python statements": sum(map(_statements, trees.values())),
        "Lua tokens": sum(map(_tokens, scripts)),
        "modules in the largest folder": max(largest.values()),
        "import levels": _levels(graph),
        "modules in circles": sum(map(len, _circles(graph))),
        "folders in circles": sum(map(len, _circles(folders))),
        "class names defined more than once": sum(n > 1 for n in named.values()),
        "lines a script carries that are shared": round(shared),
        "generated modules, left apart": len(generated),
        "lines of these": sum(len(path.read_text().splitlines()) for path in generated),
        "README bytes": len((root / "README.md").read_bytes()),
        "ARCHITECTURE words": len((root / "ARCHITECTURE.md").read_text().split()),
    }


def _module(root: Path, path: Path) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def _imports(name: str, tree: ast.AST, modules: Mapping[str, ast.AST]) -> Iterator[str]:
    """Name the modules that one imports, lazily or for its types included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found = inner if inner in modules else node.module
                if found in modules and found != name:
                    yield found


def _by_folder(graph: Graph) -> Graph:
    """Return the imports between folders; what stands in no folder of its package is its own."""
    folders: dict[str, set[str]] = defaultdict(set)
    for name, imported in graph.items():
        here = _folder(name, graph)
        folders[here] |= {_folder(other, graph) for other in imported} - {here}
    return folders


def _folder(name: str, graph: Graph) -> str:
    above = name.rpartition(".")[0]
    return above if "." in above and above in graph else name


def _circles(graph: Graph) -> list[list[str]]:
    """Find what imports itself by way of others (Tarjan, 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in graph.get(name, ()):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            cut = stack.index(name)
            circle = stack[cut:]
            del stack[cut:]
            if len(circle) > 1:
                found.append(circle)

    sys.setrecursionlimit(10_000)
    for name in graph:
        if name not in index:
            visit(name)
    return found


def _levels(graph: Graph) -> int:
    """Count the modules of the longest way down, each circle passed once."""
    depth: dict[str, int] = {}

    def of(name: str, above: frozenset[str]) -> int:
        if name not in depth:
            below = (of(other, above | {name}) for other in graph[name] if other not in above)
            depth[name] = 1 + max(below, default=0)
        return depth[name]

    return max(of(name, frozenset({name})) for name in graph)


def _statements(tree: ast.AST) -> int:
    """Count statements; docstrings are none."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.stmt)]
    return len(nodes) - sum(
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in nodes
    )


def _tokens(script: Path) -> int:
    code = re.sub(r"--[^\n]*", "", script.read_text())
    return len(re.findall(r"'[^'\n]*'|\"[^\"\n]*\"|[A-Za-z_]\w*|\d+|[^\s\w]", code))


def _shared_lines(root: Path, scripts: list[Path]) -> float:
    """Return how many lines of shared parts stand before a script, on average."""
    texts = {path.stem: path.read_text() for path in scripts}
    (loader,) = [
        path for path in (root / "runqueue").rglob("scripts.py") if "cli" not in path.parts
    ]
    match = re.search(r"^SHARED = \(([^)]*)\)", loader.read_text(), re.MULTILINE)
    always = set(re.findall(r'"([a-z_]+)"', match[1]) if match else ["core"])
    own = [path.stem for path in scripts if "lib" not in path.parts]
    return sum(
        sum(len(texts[part].splitlines()) for part in always | _used(name, texts)) for name in own
    ) / len(own)


def _used(name: str, texts: Mapping[str, str]) -> set[str]:
    first = texts[name].partition("\n")[0]
    direct = set(first.removeprefix("-- use:").split()) if first.startswith("-- use:") else set()
    return direct.union(*(_used(part, texts) for part in direct))


def main(folders: list[str]) -> None:
    """Print what was measured, a column for each checkout."""
    seen = [measure(Path(folder)) for folder in folders or ["."]]
    for what in seen[0]:
        print(f"| {what} | " + " | ".join(f"{one[what]:,}" for one in seen) + " |")


if __name__ == "__main__":
    main(sys.argv[1:])
