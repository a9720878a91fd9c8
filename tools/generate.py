"""Write blocking modules from those for coroutines: `make generate`.

Each source is read as text: `async` and `await` go, names get those of their blocking twins, and
ruff removes the imports that are not needed any more.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

_RUNQUEUE: Final = Path(__file__).parent.parent / "runqueue"
_PRODUCER: Final = _RUNQUEUE / "producer"
_CONNECTION: Final = _RUNQUEUE / "connection"
#: From which file each generated one is made.
SOURCES: Final = {
    _PRODUCER / "queue.py": _PRODUCER / "async_queue.py",
    _PRODUCER / "listener.py": _PRODUCER / "async_listener.py",
    _PRODUCER / "handles.py": _PRODUCER / "async_handles.py",
    _CONNECTION / "sentinel.py": _CONNECTION / "async_sentinel.py",
    _CONNECTION / "switchover.py": _CONNECTION / "async_switchover.py",
    _PRODUCER / "upload_sender.py": _PRODUCER / "async_upload_sender.py",
}
#: How a generated file's first line begins; `bench/structure.py` leaves such files apart.
MARKER: Final = "# Generated from "
#: Functions that only coroutines need.
_DROPPED: Final = {"__await__", "enqueue_packets"}
#: What is replaced, in this order.
_REPLACED: Final = (
    (r"\A#.*\n", ""),
    (
        r"for coroutines of one event loop; one connection",
        "for plain Python. Thread-safe; one connection",
    ),
    (r"Notifies coroutines of one event loop of", "Notifies threads of"),
    (r", for coroutines: `await job` gives it once it has ended\.", "."),
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait (?=[\w(])", ""),
    (r"\bAwaitable\[([\w\[\]]+)\]\]", r"\1]"),
    (r"\bAwaitable\[Any\]", "Any"),
    (r"\bAwaitableJob\b", "QueuedJob"),
    (r"\basync_(queue|listener|handles|sentinel|switchover)\b", r"\1"),
    (r"\b(run|drive|check_format)_async\b", r"\1"),
    (r"\basync_(\w+)", r"sync_\1"),
    (r"\bAsync(?=[A-Z])", ""),
    (r"\b__a(enter|exit)__", r"__\1__"),
    (r"\baclose\b", "close"),
    (r"\basyncio\.Event\b", "threading.Event"),
    (r"\bredis\.asyncio\b", "redis"),
    (r"\bnot self\.is_connected\b", "self._sock is None"),
    (r"\bnowait=True\b", ""),
    (r", whose loop may be uvloop\.", "."),
    (r"\bimport asyncio\b", "import threading"),
)


def blocking(source: Path) -> str:
    """Return the blocking twin of a module.

    Args:
        source: its file.
    """
    text = source.read_text()
    lines = text.splitlines(keepends=True)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in _DROPPED:
            lines[node.lineno - 1 : node.end_lineno] = [""] * len(
                lines[node.lineno - 1 : node.end_lineno]
            )
    text = "".join(lines)
    for pattern, twin in _REPLACED:
        text = re.sub(pattern, twin, text)
    text = (
        f"{MARKER}{source.name} by tools/generate.py: change that, and run `make generate`.\n{text}"
    )
    for command in (["check", "--fix", "--unsafe-fixes", "--select=F401,I001,UP028"], ["format"]):
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


if __name__ == "__main__":
    for generated, source in SOURCES.items():
        generated.write_text(blocking(source))
