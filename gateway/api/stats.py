"""The statistics of the accounts."""

from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from gateway.auth.tokens import requires
from gateway.http.problems import answers
from gateway.http.request_body import json_answer
from gateway.tenants.scope import queue_of

router = APIRouter(tags=["queue"])

_EXAMPLE = {"default": {"states": {"ready": 900, "running": 10}, "live": 10, "strays": 0}}
_STATS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "By account, what `runqueue stats --json` shows.",
        "content": {
            "application/json": {
                "schema": {"type": "object", "additionalProperties": {"type": "object"}},
                "example": _EXAMPLE,
            }
        },
    },
    **answers(401, 403, 503),
}


@router.get(
    "/v1/stats",
    summary="Read the figures of the accounts",
    dependencies=[Depends(requires("read"))],
    response_class=Response,
    responses=_STATS,
)
async def stats(request: Request) -> Response:
    """Return states, limits, permits and what holds each account that the token is for.

    Needs the scope `read`.
    """
    found = await queue_of(request).stats()
    return json_answer({name: account.as_dict() for name, account in found.items()})
