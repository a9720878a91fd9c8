"""Whole accounts: pausing them, their limits, and their audit."""

from typing import Annotated

from fastapi import Path, Query, Request
from pydantic import Field
from starlette.responses import Response

from gateway.api.routing import BodyFields, Limit, Routes, one_at_a_time
from gateway.api.schemas import record, shape
from gateway.auth.audit import set_detail
from gateway.http.request_body import json_answer, read_model
from gateway.tenants.scope import Account, queue_of, tenant_scope_of
from runqueue.problem_types import ProblemType
from runqueue.records.limits import AccountLimits
from runqueue.store.audit import AuditEntry
from runqueue.store.limits import change_words

router = Routes("accounts")

Named = Annotated[str, Path(description="The account.", examples=["default"])]
LimitGiven = Annotated[
    float | None,
    Field(ge=0, allow_inf_nan=False, description="0: none; null: as the environment says."),
]


class LimitsSet(BodyFields):
    """Limits to set live; what is left out stays as it is."""

    submissions_per_second: LimitGiven = None
    burst_size: LimitGiven = None
    concurrent_runs: LimitGiven = None
    requests_per_second: LimitGiven = None
    webhooks_per_second: LimitGiven = None
    waiting_jobs: LimitGiven = None
    waiting_bytes: LimitGiven = None


class Pausing(BodyFields):
    """Why an account is paused."""

    reason: str = Field("", max_length=200, description="Shown to all users.")


_LIMITS = record(AccountLimits, limits=dict[str, float])


@router.call(
    "GET /v1/accounts/{account}/limits",
    "read",
    "Read an account's limits",
    ("The limits as they are now.", _LIMITS),
)
async def read_limits(account: Named, request: Request) -> Response:
    """Return the limits of an account, and where they come from."""
    return json_answer((await queue_of(request).set_limits({}, account)).as_dict())


@router.call(
    "PATCH /v1/accounts/{account}/limits",
    "operate",
    "Set an account's limits live",
    ("The limits as they are then.", _LIMITS),
    problems={ProblemType.INVALID_LIMITS},
    body=LimitsSet,
)
async def set_limits(account: Named, request: Request) -> Response:
    """Set limits for every worker, from the next call on; they win until they are reset."""
    body = await read_model(request, LimitsSet)
    given: dict[str, float | None] = body.model_dump(include=body.model_fields_set)
    found = await queue_of(request).set_limits(given, account)
    set_detail(request, change_words(given))
    return json_answer(found.as_dict())


@router.call(
    "POST /v1/accounts/{account}/pause",
    "operate",
    "Pause an account",
    (
        "Nothing more of it is submitted; `changed`: it was not paused before.",
        shape(account=str, paused=bool, changed=bool),
    ),
    body=Pausing,
)
async def pause_account(account: Named, request: Request) -> Response:
    """Submit nothing more of an account until it is resumed; runs under way go on."""
    body = await read_model(request, Pausing)
    changed = await queue_of(request).pause(account, body.reason)
    set_detail(request, body.reason)
    return json_answer({"account": account, "paused": True, "changed": changed})


@router.call(
    "POST /v1/accounts/{account}/resume",
    "operate",
    "Resume an account",
    (
        "The reason of what was `ended`, and what `held` it still; null: nothing.",
        shape(account=str, ended=str | None, held=str | None),
    ),
)
async def resume_account(account: Named, request: Request) -> Response:
    """End an account's pause; where there is none, its hold.

    Check its reason first: ending a hold for lost claims confirms that their runs were looked for.
    """
    queue = queue_of(request)
    ended = await queue.resume(account)
    held = (await queue.stats())[account].hold_reason
    set_detail(request, f"it was held by: {ended}" if ended else "nothing held it")
    return json_answer({"account": account, "ended": ended or None, "held": held})


@router.call(
    "GET /v1/audit",
    "read",
    "Read what people did",
    ("A page, and the `before` of the next.", shape(entries=list[AuditEntry], before=str | None)),
)
async def read_audit(
    request: Request,
    *,
    account: Account = None,
    before: Annotated[
        str, Query(max_length=40, description="That of the page before.", examples=[""])
    ] = "",
    limit: Limit = 50,
) -> Response:
    """Return who did what to an account, and when, the newest first."""
    whose = account or tenant_scope_of(request).default
    async with one_at_a_time(request) as queue:
        entries = await queue.audit(whose, before=before, limit=limit)
        then = entries[-1].id if len(entries) == limit else None
        return json_answer({"entries": [entry.as_dict() for entry in entries], "before": then})
