"""The statistics of the accounts, and their worker processes."""

from typing import Any

from fastapi import Request
from starlette.responses import Response

from gateway.api.routing import Routes
from gateway.api.schemas import shape, shape_of
from gateway.http.request_body import json_answer
from gateway.tenants.scope import Account, queue_of, tenant_scope_of
from runqueue.records.as_json import json_value
from runqueue.store.live_processes import Process

router = Routes("queue")


@router.call(
    "GET /v1/workers",
    "read",
    "Read the worker processes",
    ("200 at most.", shape(workers=list[Process])),
)
async def workers(request: Request, account: Account = None) -> Response:
    """Return the worker processes of an account, the one last heard of first."""
    found = await queue_of(request).workers(tenant_scope_of(request).whose(account))
    return json_answer({"workers": json_value(found)})


@router.call(
    "GET /v1/stats",
    "read",
    "Read the statistics of the accounts",
    ("By account, what `runqueue stats --json` shows.", shape_of(dict[str, dict[str, Any]])),
)
async def stats(request: Request) -> Response:
    """Return states, limits, permits and what holds each account that the token is for."""
    found = await queue_of(request).stats()
    return json_answer({name: account.as_dict() for name, account in found.items()})
