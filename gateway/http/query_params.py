"""Query parameters: one that a route does not have is refused, not ignored.

So a misspelled filter does not list everything.
"""

from fastapi import Request

from runqueue.errors import FieldError, InvalidRequest
from runqueue.request.validation_errors import MOST_GUESSED, did_you_mean


def check(request: Request) -> None:
    """Check that a route has the parameters of a request's query.

    Raises:
        InvalidRequest: names those that it does not have, the first few of many.
    """
    if not request.query_params:
        return
    path: str = request.scope["route"].path
    described = request.app.openapi()["paths"][path][request.method.lower()]
    known = {one["name"] for one in described.get("parameters", ()) if one["in"] == "query"}
    unknown = [name for name in request.query_params if name not in known]
    if unknown:
        listed = unknown[:MOST_GUESSED]
        errors = [
            FieldError(name, f"unknown parameter{did_you_mean(name, known)}") for name in listed
        ]
        if more := len(unknown) - len(listed):
            errors.append(FieldError("query", f"{more} more parameters are unknown"))
        raise InvalidRequest(errors)
