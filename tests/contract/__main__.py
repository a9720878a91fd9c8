"""`make contract`: compare, and print each difference.

    python -m tests.contract [--version 1.0.56]

Installs that release into the environment that `make test-real` keeps, if it is not there yet.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.contract.accepted import ACCEPTED
from tests.contract.compare import Contract, lines_of, sorted_out
from tests.contract.ours import USED
from tests.real.server import DEFAULT_VERSION, HOME, install

#: Seconds that reading the package may take.
READ_SECONDS = 600.0


def described(version: str) -> dict[str, Any]:
    """Return a release's routes and OpenAPI description; it is read once, and kept beside it."""
    kept = HOME / version / "openapi.json"
    if not kept.exists():
        script = Path(__file__).with_name("print_openapi.py")
        with tempfile.TemporaryDirectory() as home:
            done = subprocess.run(
                [str(install(version)), str(script)],
                cwd=home,
                env={**os.environ, "HOME": home, "SKYVERN_TELEMETRY": "false"},
                capture_output=True,
                text=True,
                timeout=READ_SECONDS,
                check=False,
            )
        if done.returncode:
            sys.exit(f"the package cannot be read:\n{done.stderr[-2000:]}")
        kept.write_text(done.stdout)
    found: dict[str, Any] = json.loads(kept.read_text())
    return found


def main() -> int:
    """Compare; the exit code is 1 if a difference is not accepted, or an acceptance is stale."""
    parser = argparse.ArgumentParser("python -m tests.contract", description=__doc__)
    parser.add_argument("--version", default=DEFAULT_VERSION, help="a release of Skyvern on PyPI")
    version = parser.parse_args().version
    result = Contract(described(version)).compared(USED)
    fits, open_, stale = sorted_out(result.found, ACCEPTED)
    for line in lines_of(fits, open_):
        print(line)
    # Another release has other differences: only of the certified one each has to be there.
    unused = stale if version == DEFAULT_VERSION else []
    for rule in unused:
        print(f"STALE     {rule.where}: nothing differs there any more")
    print(
        f"Skyvern {version}: {result.compared} compared, {len(result.found)} differences found,"
        f" {len(fits)} accepted, {len(open_)} open"
    )
    return 1 if open_ or unused else 0


if __name__ == "__main__":
    sys.exit(main())
