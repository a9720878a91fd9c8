"""What may be asked in a query: a parameter that a call does not have is refused, not passed over.

So a filter that is misspelled does not come to a list of everything.
"""

from fastapi import Request

from gateway.http.problems import Fault, FieldsRefused
from runqueue.request.validation_errors import MOST_GUESSED, did_you_mean


def check(request: Request) -> None:
    """Look whether a call has the parameters that stand in its query.

    Raises:
        FieldsRefused: it names those that it does not have, the first few of many.
    """
    if not request.query_params:
        return
    path: str = request.scope["route"].path
    described = request.app.openapi()["paths"][path][request.method.lower()]
    known = {one["name"] for one in described.get("parameters", ()) if one["in"] == "query"}
    unknown = [name for name in request.query_params if name not in known]
    if unknown:
        told = unknown[:MOST_GUESSED]
        faults = [Fault(name, f"unknown parameter{did_you_mean(name, known)}") for name in told]
        if more := len(unknown) - len(told):
            faults.append(Fault("query", f"{more} more parameters are unknown"))
        raise FieldsRefused(*faults)
