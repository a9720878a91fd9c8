"""Write blocking modules from those for coroutines: `make generate`.

A module `async_<name>.py` whose first line says so gives `<name>.py`, as psycopg does it: its text
is taken, `async` and `await` go, names get those of their blocking twins, and ruff removes the
imports that are not needed any more. Where threads and coroutines differ, both ways stand in the
source: of `if True:  # ASYNC` the blocking module has what is under `else`, or nothing.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent, indent
from typing import Final

_ROOT: Final = Path(__file__).parent.parent
#: How the first line of a source begins.
_SOURCE: Final = "# From this file `make generate` writes "
#: How a generated file's first line begins.
MARKER: Final = "# Generated from "
#: From which file each generated one is made.
SOURCES: Final = {
    path.with_name(path.name.removeprefix("async_")): path
    for package in ("api_client", "archive", "runqueue")
    for path in sorted((_ROOT / package).rglob("async_*.py"))
    if path.read_text().startswith(_SOURCE)
}
_MODULES: Final = "|".join(path.stem for path in SOURCES)
#: What is replaced, in this order.
_REPLACED: Final = (
    (r"\A#.*\n", ""),
    (
        r"for coroutines of one event loop; one connection",
        "for plain Python. Thread-safe; one connection",
    ),
    (r", for coroutines of one event loop\.", ", for plain Python."),
    (r"Notifies coroutines of one event loop of", "Notifies threads of"),
    (r", for coroutines: `await job` gives it once it has ended\.", "."),
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait (?=[\w(])", ""),
    (r"\bAwaitable\[([\w\[\]]+)\]\]", r"\1]"),
    (r"\bAwaitable\[Any\]", "Any"),
    (r"\bCoroutine\[Any, Any, (\w+)\]", r"\1"),
    (r"\bAwaitableJob\b", "QueuedJob"),
    (rf"\basync_({_MODULES})\b", r"\1"),
    (r"\b(run|load_library|check_format)_async\b", r"\1"),
    (r"\basync_(\w+)", r"sync_\1"),
    (r"\bAsync(?=[A-Z])", ""),
    (r"\b__a(enter|exit)__", r"__\1__"),
    (r"\baclose\b", "close"),
    (r"\basyncio\.Event\b", "threading.Event"),
    (r"\basyncio\.Task\[None\]", "threading.Thread"),
    (r"\basyncio\.Future\b", "concurrent.futures.Future"),
    (r"\basyncio\.sleep\b", "time.sleep"),
    (r"\bimport asyncio\n", "import time\n"),
    (r"\bredis\.asyncio\b", "redis"),
    (r"\bnot self\.is_connected\b", "self._sock is None"),
    (r"\bnowait=True\b", ""),
    (r", whose loop may be uvloop\.", "."),
)


def blocking(source: Path) -> str:
    """Return the blocking twin of a module.

    Args:
        source: its file.
    """
    text = _with_threads(source.read_text())
    for pattern, twin in _REPLACED:
        text = re.sub(pattern, twin, text)
    text = (
        f"{MARKER}{source.name} by tools/generate.py: change that, and run `make generate`.\n{text}"
    )
    fixed = "--select=C416,F401,I001,UP028"
    for command in (["check", "--fix", "--unsafe-fixes", fixed], ["format"]):
        ruff = [
            sys.executable,
            "-m",
            "ruff",
            *command,
            "--quiet",
            "--stdin-filename",
            str(source),
            "-",
        ]
        text = subprocess.run(ruff, input=text, capture_output=True, text=True, check=True).stdout  # noqa: S603 - our own command
    return text


def _with_threads(text: str) -> str:
    """Take the `else` of each `if True:  # ASYNC`."""
    lines = text.splitlines(keepends=True)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.If) and lines[node.lineno - 1].strip() == "if True:  # ASYNC":
            start, end = node.lineno - 1, node.end_lineno or 0
            other = "".join(lines[node.body[-1].end_lineno or 0 : end]).partition("else:")[2]
            kept = indent(dedent(other.partition("\n")[2]), " " * node.col_offset)
            lines[start:end] = [kept, *[""] * (end - start - 1)]
    return "".join(lines)


if __name__ == "__main__":
    for generated, source in SOURCES.items():
        generated.write_text(blocking(source))
