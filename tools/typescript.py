"""Writes the OpenAPI file, and from it what the TypeScript client has of it (`make typescript`).

That is its types, an error class for each type of problem, and which answers are text. Their heads
have the hash of the file, so that a test without Node sees when they are out of date.
"""

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from gateway.api.openapi import describe
from gateway.app import make_app

ROOT: Final = Path(__file__).parents[1]
OPENAPI: Final = ROOT / "docs/openapi.json"
CLIENT: Final = ROOT / "clients/typescript"
TYPES: Final = CLIENT / "src/schema.ts"
PROBLEMS: Final = CLIENT / "src/problems.ts"
ANSWERS: Final = CLIENT / "src/answers.ts"
_BASES: Final = {
    **dict.fromkeys(("401", "403"), "NotAllowed"),
    "404": "NotFound",
    "409": "Conflict",
    **dict.fromkeys(("400", "408", "413", "415", "422"), "BadRequest"),
    "429": "TooManyRequests",
    **dict.fromkeys(("500", "503"), "Unavailable"),
}


def openapi_text() -> str:
    """Return the OpenAPI file of this source tree, which names no version of the product."""
    parts: Any = SimpleNamespace(receiver=None, metrics=None, closing=None)
    found = describe(make_app(parts))
    found["info"]["version"] = "1"
    return f"{json.dumps(found, indent=1, ensure_ascii=False)}\n"


def head(openapi: str) -> str:
    """Return the first line of a file that is made of an OpenAPI file."""
    digest = hashlib.sha256(openapi.encode()).hexdigest()
    return f"// Made of docs/openapi.json by `make typescript`; its SHA-256: {digest}\n"


def problems_text(openapi: str) -> str:
    """Return the classes of statuses, and below them those of the types of problems."""
    whole = json.loads(openapi)
    statuses = {uri: status for status, uri in _listed(whole)}
    types = whole["components"]["schemas"]["Problem"]["properties"]["type"]
    meanings = dict(line[2:].split(": ", 1) for line in types["description"].splitlines())
    lines = ['import { ProblemError } from "./errors.js";', ""]
    for base in dict.fromkeys(_BASES.values()):
        listed = ", ".join(status for status, name in _BASES.items() if name == base)
        lines += [f"/** {listed}. */", f"export class {base} extends ProblemError {{}}"]
    entries = [f"  [{status}, {base}]," for status, base in _BASES.items()]
    for uri in types["enum"]:
        name = "".join(part.title() for part in uri.rpartition(":")[2].split("-"))
        base = _BASES[statuses[uri]] if uri in statuses else "ProblemError"
        lines += [f"/** {meanings[f'`{uri}`']} */", f"export class {name} extends {base} {{}}"]
        entries.append(f'  ["{uri}", {name}],')
    of_all = "export const CLASSES = new Map<string | number, typeof ProblemError>(["
    lines += ["", "/** The class of each type, and of each status. */", of_all, *entries, "]);"]
    return head(openapi) + "\n".join(lines) + "\n"


def answers_text(openapi: str) -> str:
    """Return which paths answer a GET by text."""
    calls = ((path, by.get("get")) for path, by in json.loads(openapi)["paths"].items())
    answers = ((path, call["responses"]["200"]["content"]) for path, call in calls if call)
    texts = [path for path, content in answers if "application/json" not in content]
    lines = ["/** Paths that answer a GET by text. */"]
    lines += ["export const TEXTS: ReadonlySet<string> = new Set(["]
    lines += [*(f'  "{path}",' for path in texts), "]);"]
    return head(openapi) + "\n".join(lines) + "\n"


def types_text(openapi: str) -> str:
    """Return what openapi-typescript makes of the OpenAPI file, which is `openapi`."""
    command = ["npx", "--no-install", "openapi-typescript", str(OPENAPI)]
    command += ["--default-non-nullable", "false"]
    made = subprocess.run(command, cwd=CLIENT, check=True, capture_output=True, text=True)  # noqa: S603 - our own command
    return head(openapi) + made.stdout


def _listed(whole: Any) -> Iterator[tuple[str, str]]:
    """Yield the statuses and types of problems that calls list."""
    for call in (call for path in whole["paths"].values() for call in path.values()):
        for status, answer in call["responses"].items():
            content = answer.get("content", {}).get("application/problem+json")
            if content is not None:
                _, listed = content["schema"]["allOf"]
                yield from ((status, uri) for uri in listed["properties"]["type"]["enum"])


def main() -> None:
    """Write all of them."""
    openapi = openapi_text()
    OPENAPI.write_text(openapi)
    PROBLEMS.write_text(problems_text(openapi))
    ANSWERS.write_text(answers_text(openapi))
    TYPES.write_text(types_text(openapi))


if __name__ == "__main__":
    main()
