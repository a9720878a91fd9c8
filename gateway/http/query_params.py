"""Query parameters: one that a route does not have is refused, not ignored.

So a misspelled filter does not list everything.
"""

from fastapi import Request

from runqueue.errors import FieldError, InvalidRequest
from runqueue.request.validation_errors import MOST_GUESSED, did_you_mean

#: The names that a route has, by its path and method. Routes are those of modules, the same for
#: every application of a process; the description that names them takes long to make.
_NAMES: dict[tuple[str, str], frozenset[str]] = {}


def check(request: Request) -> None:
    """Check that a route has the parameters of a request's query.

    Raises:
        InvalidRequest: names those that it does not have, the first few of many.
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


def _known(request: Request) -> frozenset[str]:
    path: str = request.scope["route"].path
    method = request.method.lower()
    if (path, method) not in _NAMES:
        described = request.app.openapi()["paths"][path][method]
        found = described.get("parameters", ())
        _NAMES[path, method] = frozenset(one["name"] for one in found if one["in"] == "query")
    return _NAMES[path, method]
