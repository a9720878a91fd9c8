"""The statistics of the accounts, and their worker processes."""

from fastapi import Request
from starlette.responses import Response

from gateway.api.routing import UNKNOWN_ACCOUNT, Routes, by_example
from gateway.http.request_body import json_answer
from gateway.tenants.scope import Account, queue_of, tenant_scope_of
from runqueue.records.as_json import json_value

router = Routes("queue")

_EXAMPLE = {"default": {"states": {"ready": 900, "running": 10}, "live": 10, "orphans": 0}}
_WORKER = {
    "name": "host-1-17-a3f",
    "account": "default",
    "heartbeat_seconds": 1.5,
    "alive": True,
    "submitting": 3,
    "stages": ["submit", "poll"],
}


@router.call(
    "GET /v1/workers",
    "read",
    "Read the worker processes",
    by_example("200 at most.", {"workers": [_WORKER]}),
    problems=UNKNOWN_ACCOUNT,
)
async def workers(request: Request, account: Account = None) -> Response:
    """Return the worker processes of an account, the one last heard of first."""
    found = await queue_of(request).workers(tenant_scope_of(request).whose(account))
    return json_answer({"workers": json_value(found)})


@router.call(
    "GET /v1/stats",
    "read",
    "Read the statistics of the accounts",
    by_example("By account, what `runqueue stats --json` shows.", _EXAMPLE),
    response_class=Response,
)
async def stats(request: Request) -> Response:
    """Return states, limits, permits and what holds each account that the token is for."""
    found = await queue_of(request).stats()
    return json_answer({name: account.as_dict() for name, account in found.items()})
