"""Query parameters: one that a route does not have, or is repeated in vain, is refused.

So a misspelled filter does not list everything.
"""

from collections import Counter

from fastapi import Request

from runqueue.errors import FieldError, InvalidRequest
from runqueue.request.validation_errors import MOST_GUESSED, did_you_mean

#: The names that a route has, and whether each may be repeated, by its path and method.
#: Routes are those of modules, the same for every application of a process; the
#: description that names them takes long to make.
_NAMES: dict[tuple[str, str], dict[str, bool]] = {}


def check(request: Request) -> None:
    """Check that a route has the parameters of a request's query.

    Raises:
        InvalidRequest: names those that it does not have, the first few of many, or those
            that are given twice.
    """
    if not request.query_params:
        return
    known = _known(request)
    unknown = [name for name in request.query_params if name not in known]
    if unknown:
        listed = unknown[:MOST_GUESSED]
        errors = [
            FieldError(name, f"unknown parameter{did_you_mean(name, known)}") for name in listed
        ]
        if more := len(unknown) - len(listed):
            errors.append(FieldError("query", f"{more} more parameters are unknown"))
        raise InvalidRequest(errors)
    given = Counter(name for name, _ in request.query_params.multi_items())
    if twice := [name for name, n in given.items() if n > 1 and not known[name]]:
        raise InvalidRequest([FieldError(name, "expected once") for name in twice])


def _known(request: Request) -> dict[str, bool]:
    path: str = request.scope["route"].path
    method = request.method.lower()
    if (path, method) not in _NAMES:
        described = request.app.openapi()["paths"][path][method]
        found = described.get("parameters", ())
        _NAMES[path, method] = {
            one["name"]: any(
                each.get("type") == "array"
                for each in (one["schema"], *one["schema"].get("anyOf", ()))
            )
            for one in found
            if one["in"] == "query"
        }
    return _NAMES[path, method]
