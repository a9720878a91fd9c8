"""Budgets: how many steps or credits runs may take."""

from typing import Annotated

from fastapi import Path, Request
from pydantic import Field, StrictBool, StrictInt
from starlette.responses import Response

from gateway.api.routing import BodyFields, Routes, one_at_a_time
from gateway.api.schemas import each, record, shape
from gateway.auth.audit import set_detail
from gateway.http.request_body import json_answer, read_model
from gateway.tenants.scope import Account, queue_of, tenant_scope_of
from runqueue.problem_types import ProblemType
from runqueue.store.budgets import EXPECTED, Budget, BudgetUse

_SET = ("What was done.", shape(scope=str, had_budget=bool))
_OWN = {
    "steps": int | None,
    "credits": int | None,
    "per": str,
    "timezone": str,
    "strict": bool,
    "expected": int,
    "left": float,
}
_USE = record(BudgetUse, "budget", **_OWN)
router = Routes("budgets")
Scope = Annotated[
    str,
    Path(
        description="`account`, `group:<group>`, `batch:<batch's id>`, `key:<key>`, or"
        " `key:<first segment>:*` for each such key.",
        examples=["key:customer:acme"],
    ),
]


class BudgetSettings(BodyFields):
    """A budget, whole."""

    steps: StrictInt | None = Field(
        None, description="How many steps runs may take.", examples=[5000]
    )
    credits: StrictInt | None = Field(
        None, description="How many credits, instead of steps.", examples=[None]
    )
    per: str = Field("total", description="In what time: day, month or total.", examples=["day"])
    timezone: str = Field(
        "UTC",
        description="The time zone in which days and months begin.",
        examples=["Europe/Berlin"],
    )
    strict: StrictBool = Field(
        False,
        description="Whether the `max_steps` of live runs count, and jobs need one: of steps.",
    )
    expected: StrictInt = Field(
        EXPECTED, description="What a run is expected to take until one has ended."
    )

    def budget(self) -> Budget:
        """Return it."""
        return Budget(self.steps, self.per, self.timezone, self.strict, self.expected, self.credits)


@router.call(
    "GET /v1/budgets",
    "read",
    "Read the budgets",
    ("Each with what is spent and committed of it.", shape(budgets=each(_USE))),
)
async def read_budgets(request: Request, account: Account = None) -> Response:
    """Return an account's budgets, and what of them is spent, committed and left."""
    async with one_at_a_time(request) as queue:
        found = await queue.list_budgets(tenant_scope_of(request).whose(account))
        return json_answer({"budgets": [use.as_dict() for use in found]})


@router.call(
    "PUT /v1/budgets/{scope}",
    "operate",
    "Set a budget",
    _SET,
    problems={ProblemType.INVALID_BUDGET},
    body=BudgetSettings,
)
async def set_budget(scope: Scope, request: Request, account: Account = None) -> Response:
    """Limit how many steps or credits runs may take, from the next submission on."""
    budget = (await read_model(request, BudgetSettings)).budget()
    whose = tenant_scope_of(request).whose(account)
    had_budget = await queue_of(request).set_budget(scope, budget, account=whose)
    set_detail(request, budget.words())
    return json_answer({"scope": scope, "had_budget": had_budget})


@router.call(
    "DELETE /v1/budgets/{scope}",
    "operate",
    "Clear a budget",
    _SET,
    problems={ProblemType.INVALID_BUDGET},
)
async def clear_budget(scope: Scope, request: Request, account: Account = None) -> Response:
    """Clear a budget: what waits for it goes on."""
    whose = tenant_scope_of(request).whose(account)
    had_budget = await queue_of(request).set_budget(scope, None, account=whose)
    set_detail(request, "no budget")
    return json_answer({"scope": scope, "had_budget": had_budget})
