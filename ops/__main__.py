"""`python -m ops`: write docs/monitoring.md's tables and the dashboards (`make monitoring`)."""

import json
import sys
from pathlib import Path

from ops.boards import BOARDS
from ops.expressions import DASHBOARDS, HERE
from ops.page import page


def written() -> dict[Path, str]:
    """Return what the files should hold, by their paths."""
    monitoring = HERE.parent / "docs" / "monitoring.md"
    files = {monitoring: page(monitoring.read_text())}
    for board in BOARDS:
        text = json.dumps(board.as_json(), indent=2, ensure_ascii=False)
        files[DASHBOARDS / f"{board.uid}.json"] = f"{text}\n"
    return files


def main() -> None:
    """Write every file, and remove dashboards that are no more."""
    files = written()
    for path in DASHBOARDS.glob("*.json"):
        if path not in files:
            path.unlink()
    for path, text in files.items():
        path.write_text(text)
        sys.stdout.write(f"{path.relative_to(HERE.parent)}\n")


if __name__ == "__main__":
    main()
