"""Groups: their shares of an account."""

from typing import Annotated, Any

from fastapi import Path, Request
from pydantic import Field, StrictBool, StrictInt
from starlette.responses import Response

from gateway.api.routing import BodyFields, Routes, one_at_a_time
from gateway.api.schemas import each, record, shape
from gateway.auth.audit import set_detail
from gateway.http.request_body import json_answer, read_model
from gateway.tenants.scope import Account, queue_of, tenant_scope_of
from runqueue.problem_types import ProblemType
from runqueue.records.as_json import json_value
from runqueue.store.groups import Group, GroupCredits, change_words

router = Routes("groups")

_GROUP = record(Group, "name", group=str)


class GroupSettings(BodyFields):
    """The settings of a group; those left out stay as they are."""

    max_concurrent: StrictInt | None = Field(
        None, ge=1, lt=2**53, description="Its slots at most; null: no cap.", examples=[2]
    )
    paused: StrictBool | None = Field(
        None, description="Whether nothing of it is submitted.", examples=[False]
    )


@router.call(
    "GET /v1/groups",
    "read",
    "Read the groups",
    ("Those with settings or ready jobs.", shape(groups=each(_GROUP))),
)
async def read_groups(request: Request, account: Account = None) -> Response:
    """Return the groups of an account that have settings or ready jobs."""
    async with one_at_a_time(request) as queue:
        found = await queue.groups(tenant_scope_of(request).whose(account))
        return json_answer({"groups": [group.as_dict() for group in found]})


@router.call(
    "GET /v1/group_credits",
    "read",
    "Read the credits of groups",
    ("Those first that took most.", shape(groups=list[GroupCredits])),
)
async def read_group_credits(request: Request, account: Account = None) -> Response:
    """Return the credits of each group of an account."""
    async with one_at_a_time(request) as queue:
        found = await queue.group_credits(tenant_scope_of(request).whose(account))
        return json_answer({"groups": [json_value(one) for one in found]})


@router.call(
    "PUT /v1/groups/{name}",
    "operate",
    "Set a group",
    ("The group as it is now.", _GROUP),
    problems={ProblemType.INVALID_GROUP},
    body=GroupSettings,
)
async def set_group(
    name: Annotated[str, Path(description="The group's name.", examples=["shop-a"])],
    request: Request,
    account: Account = None,
) -> Response:
    """Cap or pause a group, from the next submission on."""
    settings = await read_model(request, GroupSettings)
    given: dict[str, Any] = settings.model_dump(include=settings.model_fields_set)
    whose = tenant_scope_of(request).whose(account)
    group = await queue_of(request).set_group(name, account=whose, **given)
    set_detail(request, change_words(**given))
    return json_answer(group.as_dict())
