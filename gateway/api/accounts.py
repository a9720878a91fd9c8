"""Whole accounts: pausing them, their limits, and their audit."""

from typing import Annotated, Any

from fastapi import Path, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from gateway.api.routing import UNKNOWN_ACCOUNT, BodyFields, Limit, Routes, by_example, listing
from gateway.auth.audit import set_detail
from gateway.http.request_body import json_answer, read_model
from gateway.tenants.scope import Account, queue_of, tenant_scope_of
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


class LimitsShown(BaseModel):
    """The limits of an account; 0: none."""

    account: str = Field(examples=["default"])
    limits: dict[str, float] = Field(
        description="What holds.", examples=[{"concurrent_runs": 20.0}]
    )
    environment: dict[str, float] = Field(
        description="What the worker that started last had set.",
        examples=[{"concurrent_runs": 10.0}],
    )
    live: dict[str, float] = Field(
        description="What people set since, which wins.", examples=[{"concurrent_runs": 20.0}]
    )


class Pausing(BodyFields):
    """Why an account is paused."""

    reason: str = Field("", max_length=200, description="Shown to all users.")


class AuditShown(BaseModel):
    """Entries of the audit log, the newest first."""

    entries: list[dict[str, Any]] = Field(
        examples=[
            [
                {
                    "id": "1795656792292-0",
                    "account": "default",
                    "at": "2026-11-26T01:33:12.292354+00:00",
                    "who": "ops",
                    "what": "pause_account",
                    "target": "",
                    "detail": "a deployment",
                }
            ]
        ]
    )
    before: str | None = Field(
        description="The `cursor` of the next page; null: this is the last.",
        examples=[None],
    )


@router.call(
    "GET /v1/accounts/{account}/limits",
    "read",
    "Read an account's limits",
    ("The limits as they are now.", LimitsShown),
    problems=UNKNOWN_ACCOUNT,
)
async def read_limits(account: Named, request: Request) -> Response:
    """Return the limits of an account, and where they come from."""
    return json_answer((await queue_of(request).set_limits({}, account)).as_dict())


@router.call(
    "PATCH /v1/accounts/{account}/limits",
    "operate",
    "Set an account's limits live",
    ("The limits as they are then.", LimitsShown),
    problems={422: "concurrent_runs: expected a whole number, got 1.5"},
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
    by_example(
        "Nothing more of it is submitted; `changed`: it was not paused before.",
        {"account": "default", "paused": True, "changed": True},
    ),
    problems=UNKNOWN_ACCOUNT,
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
    by_example(
        "The reason of what was `ended`, and what `held` it still; null: nothing.",
        {"account": "default", "ended": "paused: a deployment", "held": None},
    ),
    problems=UNKNOWN_ACCOUNT,
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
    ("A page of it.", AuditShown),
    problems=UNKNOWN_ACCOUNT,
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
    async with listing(request) as queue:
        entries = await queue.audit(whose, before=before, limit=limit)
        then = entries[-1].id if len(entries) == limit else None
        return json_answer({"entries": [entry.as_dict() for entry in entries], "before": then})
