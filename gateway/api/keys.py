"""Keys: what jobs use together, and the limits on them."""

from typing import Annotated

from fastapi import Path, Query, Request
from pydantic import Field, StrictFloat, StrictInt
from starlette.responses import Response

from gateway.api.routing import BodyFields, Routes, one_at_a_time
from gateway.api.schemas import shape
from gateway.auth.audit import set_detail, set_details
from gateway.http.request_body import json_answer, read_model
from gateway.tenants.scope import Account, queue_of, tenant_scope_of
from runqueue.problem_types import ProblemType
from runqueue.store.key_limits import UNITS, EndedHolder, KeyLimit, KeyUse

_SET = ("What was done.", shape(key=str, had_limit=bool))
router = Routes("keys")
Pattern = Annotated[
    str,
    Path(
        description="A key, or its first segment and `:*` for each such key.",
        examples=["host:shop.example"],
    ),
]
_RATE = StrictInt | StrictFloat | None


class KeyLimitSettings(BodyFields):
    """The limit of a key, whole: what is left out is not limited."""

    max_concurrent: StrictInt | None = Field(
        None, description="How many jobs may have it at a time.", examples=[2]
    )
    per_second: _RATE = Field(None, description="How many jobs may begin a second.")
    per_minute: _RATE = Field(None, description="How many jobs may begin a minute.")
    per_hour: _RATE = Field(None, description="How many jobs may begin an hour.")

    def limit(self) -> KeyLimit:
        """Return it.

        Raises:
            InvalidKeyLimit: it gives more than one rate.
        """
        rates = {unit: getattr(self, f"per_{unit}") for unit in UNITS}
        return KeyLimit.of_rates(self.max_concurrent, **rates)


@router.call(
    "GET /v1/keys",
    "read",
    "Read the keys",
    ("Those that have limits, and those at which jobs wait.", shape(keys=list[KeyUse])),
)
async def read_keys(request: Request, account: Account = None) -> Response:
    """Return the keys of an account that have limits, and those at which jobs wait."""
    async with one_at_a_time(request) as queue:
        found = await queue.list_keys(tenant_scope_of(request).whose(account))
        return json_answer({"keys": [use.as_dict() for use in found]})


@router.call(
    "POST /v1/keys:repair",
    "operate",
    "Find, or free, keys that ended jobs still have",
    ("Those that were found.", shape(holders=list[EndedHolder])),
)
async def repair_keys(
    request: Request,
    account: Account = None,
    drop: Annotated[bool, Query(description="Free them.")] = True,
) -> Response:
    """Find what has ended and still has a key, or steps of a strict budget, and free these."""
    whose = await tenant_scope_of(request).account(account)
    async with one_at_a_time(request) as queue:
        found = await queue.ended_holders(whose, drop=drop)
    dropped = {whose: ("", f"{len(found)} dropped")} if found and drop else {}
    set_details(request, dropped)
    return json_answer({"holders": [one._asdict() for one in found]})


@router.call(
    "PUT /v1/keys/{key}",
    "operate",
    "Set the limit of a key",
    _SET,
    problems={ProblemType.INVALID_KEY_LIMIT},
    body=KeyLimitSettings,
)
async def set_key_limit(key: Pattern, request: Request, account: Account = None) -> Response:
    """Limit how many jobs use a key, from the next submission on, and for what waits, too."""
    limit = (await read_model(request, KeyLimitSettings)).limit()
    whose = tenant_scope_of(request).whose(account)
    had_limit = await queue_of(request).set_key_limit(key, limit, account=whose)
    set_detail(request, limit.words())
    return json_answer({"key": key, "had_limit": had_limit})


@router.call(
    "DELETE /v1/keys/{key}",
    "operate",
    "Clear the limit of a key",
    _SET,
    problems={ProblemType.INVALID_KEY_LIMIT},
)
async def clear_key_limit(key: Pattern, request: Request, account: Account = None) -> Response:
    """Clear a key's own limit; that of its first segment holds then, if there is one."""
    whose = tenant_scope_of(request).whose(account)
    had_limit = await queue_of(request).set_key_limit(key, None, account=whose)
    set_detail(request, "no limit of its own")
    return json_answer({"key": key, "had_limit": had_limit})
