"""The statistics of the accounts."""

from fastapi import Request
from starlette.responses import Response

from gateway.api.routing import Routes
from gateway.http.request_body import json_answer
from gateway.tenants.scope import queue_of

router = Routes("queue")

_EXAMPLE = {"default": {"states": {"ready": 900, "running": 10}, "live": 10, "strays": 0}}
_STATS = {
    "description": "By account, what `runqueue stats --json` shows.",
    "content": {
        "application/json": {
            "schema": {"type": "object", "additionalProperties": {"type": "object"}},
            "example": _EXAMPLE,
        }
    },
}


@router.call(
    "GET /v1/stats",
    "read",
    "Read the statistics of the accounts",
    _STATS,
    response_class=Response,
)
async def stats(request: Request) -> Response:
    """Return states, limits, permits and what holds each account that the token is for."""
    found = await queue_of(request).stats()
    return json_answer({name: account.as_dict() for name, account in found.items()})
