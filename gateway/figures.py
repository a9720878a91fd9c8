"""The figures of every account."""

from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from gateway.auth import requires
from gateway.content import json_answer
from gateway.gate import gate_of
from gateway.problems import answers

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
    summary="Read the figures of every account",
    dependencies=[Depends(requires("read"))],
    response_class=Response,
    responses=_STATS,
)
async def stats(request: Request) -> Response:
    """Return states, limits, permits and what holds each account. Needs the scope `read`."""
    found = await gate_of(request).queue.stats()
    return json_answer({name: account.as_dict() for name, account in found.items()})
