"""Writes the OpenAPI file, and the types of the TypeScript client from it (`make typescript`).

The head of the types has the hash of the file that they were made of, so that a test without Node
sees when they are out of date.
"""

import hashlib
import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

from gateway.api.openapi import describe
from gateway.app import make_app

ROOT: Final = Path(__file__).parents[1]
OPENAPI: Final = ROOT / "docs/openapi.json"
CLIENT: Final = ROOT / "clients/typescript"
TYPES: Final = CLIENT / "src/schema.ts"


def openapi_text() -> str:
    """Return the OpenAPI file of this source tree, which names no version of the product."""
    parts: Any = SimpleNamespace(receiver=None, metrics=None, closing=None)
    found = describe(make_app(parts))
    found["info"]["version"] = "1"
    return f"{json.dumps(found, indent=1, ensure_ascii=False)}\n"


def head(openapi: str) -> str:
    """Return the first line of the types that are made of an OpenAPI file."""
    digest = hashlib.sha256(openapi.encode()).hexdigest()
    return f"// Made of docs/openapi.json by `make typescript`; its SHA-256: {digest}\n"


def main() -> None:
    """Write both."""
    openapi = openapi_text()
    OPENAPI.write_text(openapi)
    command = [*("npx", "--no-install", "openapi-typescript", str(OPENAPI))]
    command += ["--default-non-nullable", "false"]
    made = subprocess.run(command, cwd=CLIENT, check=True, capture_output=True, text=True)  # noqa: S603 - our own command
    TYPES.write_text(head(openapi) + cast(str, made.stdout))


if __name__ == "__main__":
    main()
