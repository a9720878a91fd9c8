"""Groups: their shares of an account."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt
from starlette.responses import Response

from gateway.api.list_turns import listing
from gateway.api.schemas import GroupShown, GroupsShown
from gateway.auth.audit import set_detail
from gateway.auth.tokens import requires
from gateway.http.problems import answers
from gateway.http.request_body import body_of, json_answer
from gateway.state.state import gate_of
from gateway.tenants.scope import Account, queue_of, tenant_scope_of
from runqueue.store.groups import change_words

router = APIRouter(tags=["groups"])


class GroupSettings(BaseModel):
    """The settings of a group; those left out stay as they are."""

    model_config = ConfigDict(extra="forbid")

    max_concurrent: StrictInt | None = Field(
        None, ge=1, lt=2**53, description="Its slots at most; null: no cap.", examples=[2]
    )
    paused: StrictBool | None = Field(
        None, description="Whether nothing of it is submitted.", examples=[False]
    )


@router.get(
    "/v1/groups",
    summary="Read the groups",
    dependencies=[Depends(requires("read"))],
    responses={
        200: {"description": "Those with settings or ready jobs.", "model": GroupsShown},
        **answers(401, 403, 422, 503, words={422: "account: no worker has served 'acme' yet"}),
    },
)
async def read_groups(request: Request, account: Account = None) -> Response:
    """Return the groups of an account that have settings or ready jobs. Needs the scope `read`."""
    async with listing(request) as queue:
        found = await queue.groups(tenant_scope_of(request).whose(account))
        return json_answer({"groups": [group.as_dict() for group in found]})


@router.put(
    "/v1/groups/{name}",
    summary="Set a group",
    dependencies=[Depends(requires("operate"))],
    responses={
        200: {"description": "The group as it is now.", "model": GroupShown},
        **answers(
            *(400, 401, 403, 408, 413, 415, 422, 503),
            words={422: "max_concurrent: expected 1 or more, or none, got 0"},
        ),
    },
    openapi_extra=body_of({"schema": GroupSettings.model_json_schema()}),
)
async def set_group(
    name: Annotated[str, Path(description="The group's name.", examples=["shop-a"])],
    request: Request,
    account: Account = None,
) -> Response:
    """Cap or pause a group, from the next submission on. Needs the scope `operate`."""
    settings = await gate_of(request).body_memory.model(request, GroupSettings)
    given: dict[str, Any] = settings.model_dump(include=settings.model_fields_set)
    whose = tenant_scope_of(request).whose(account)
    group = await queue_of(request).set_group(name, account=whose, **given)
    set_detail(request, change_words(**given))
    return json_answer(group.as_dict())
