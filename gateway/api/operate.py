"""What operators decide on jobs, orphan runs and refused lines."""

from collections import Counter
from typing import Annotated, Any, Final, Literal

from fastapi import Path, Query, Request
from pydantic import Field
from starlette.responses import Response

from gateway.api.job_schema import EXAMPLE_ID
from gateway.api.routing import BodyFields, Limit, Routes, one_at_a_time
from gateway.api.schemas import each, shape, shape_of
from gateway.auth.audit import set_details
from gateway.http.request_body import json_answer, read_model
from gateway.tenants.scope import Account, tenant_scope_of
from runqueue.connection.urls import shown_url
from runqueue.errors import FieldError, InvalidRequest
from runqueue.operator.decisions import ACTS, GOOD, WORDS, Settled
from runqueue.operator.refused_lines import PAGE, InboxPage, inbox_page
from runqueue.problem_types import ProblemType
from runqueue.producer.async_queue import AsyncRunQueue
from runqueue.records.as_json import json_value
from runqueue.records.job import JobState, Orphan
from runqueue.store import inbox_calls, operator_calls
from runqueue.store.accounts import account_of

router = Routes("jobs")

_OfRuns = Literal["adopt", "resubmit", "fail", "approve"]
Decision = Literal["cancel", "replay", "discard", _OfRuns, "deliver", "confirm_delivery"]
_IDS: Final = Field(
    min_length=1, max_length=ACTS, description="Of the jobs.", examples=[[EXAMPLE_ID]]
)
_DONE: Final = GOOD | {Settled.CANCELED, Settled.WILL_BE_CANCELED}
_DONE_TO: Final = ("How many it was done to.", shape(done=int))


class JobIds(BodyFields):
    """Some jobs."""

    job_ids: list[str] = _IDS


class DecisionFields(JobIds):
    """Jobs, and what else a decision says."""

    run_id: str = Field("", description="`adopt`: the run of the one job.", examples=[""])
    reason: str = Field("", max_length=500, description="`fail`: shown on the jobs.")
    url: str = Field("", description="`deliver`: where to, from now on.", examples=[""])


class RunIds(BodyFields):
    """Some runs."""

    run_ids: list[str] = Field(min_length=1, max_length=ACTS, examples=[["tsk_123"]])


class LineIds(BodyFields):
    """Some refused lines."""

    line_ids: list[str] = Field(
        min_length=1, max_length=ACTS, examples=[["3b1f0c5e9d2a4b6c8e7f0a1b2c3d4e5f"]]
    )


@router.call(
    "POST /v1/jobs:states",
    "read",
    "Read the states of jobs",
    (
        "One of each; a state that is null: there is no such job.",
        shape(states=each(shape(state=JobState | None, unconfirmed_seconds=float))),
    ),
    body=JobIds,
)
async def read_states(request: Request) -> Response:
    """Return the state of each job."""
    given = await read_model(request, JobIds)
    async with one_at_a_time(request) as queue:
        found = await queue.states(given.job_ids)
    states = [{"state": state, "unconfirmed_seconds": seconds} for state, seconds in found]
    return json_answer({"states": states})


@router.call(
    "POST /v1/jobs:{decision}",
    "operate",
    "Decide on jobs",
    ("By the job's id: `done`, or what else.", shape(jobs=dict[str, Settled])),
    problems={ProblemType.JOB_NOT_FOUND},
    body=DecisionFields,
)
async def decide(
    decision: Annotated[Decision, Path(description="What is done to them.", examples=["replay"])],
    request: Request,
) -> Response:
    """Decide on up to 200 jobs; each is answered by itself.

    `cancel` them; `replay` dead, failed or canceled ones; `discard` dead ones for good; of
    unconfirmed ones, `adopt` a run, `resubmit` them since none exists, or `fail` them; `approve`
    paused runs (to reject one, `cancel`); `deliver` their webhooks again, or `confirm_delivery`:
    their results have arrived.
    """
    given = await read_model(request, DecisionFields)
    async with one_at_a_time(request) as queue:
        outcomes = await _outcomes(queue, decision, given)
        details = _details(outcomes, await queue.accounts(), decision, given)
        set_details(request, details, decision)
    return json_answer({"jobs": outcomes})


async def _outcomes(
    queue: AsyncRunQueue, decision: Decision, given: DecisionFields
) -> dict[str, Settled]:
    jobs = given.job_ids
    if decision == "adopt":
        if len(jobs) > 1:
            raise InvalidRequest([FieldError("job_ids", f"expected one, got {len(jobs)}")])
        return {jobs[0]: await queue.adopt(jobs[0], given.run_id)}
    if decision == "fail":
        return await queue.fail(jobs, given.reason)
    if decision == "deliver":
        return await queue.deliver_again(jobs, given.url)
    decide: Any = getattr(queue, "cancel_jobs" if decision == "cancel" else decision)
    found: dict[str, Settled] = await decide(jobs)
    return found


def _details(
    outcomes: dict[str, Settled], accounts: list[str], decision: Decision, given: DecisionFields
) -> dict[str, tuple[str, str]]:
    """Return a decision's audit entries, as commands make them: of each account with a job."""
    by_account: dict[str, Counter[Settled]] = {}
    for job_id, outcome in outcomes.items():
        by_account.setdefault(account_of(job_id, accounts) or "", Counter())[outcome] += 1
    more = given.run_id or given.reason or (given.url and f"to {shown_url(given.url)}")
    done = ": ".join(filter(None, (WORDS.get(decision), more)))
    details = {}
    for account, counts in by_account.items():
        number = sum(counts[outcome] for outcome in _DONE)
        words = done or ", ".join(f"{n:,} {outcome}" for outcome, n in counts.most_common())
        if number and len(outcomes) == 1:
            details[account] = (next(iter(outcomes)), words)
        elif number:
            details[account] = ("", f"{number:,} of {len(outcomes):,} jobs: {words}")
    return details


@router.call(
    "GET /v1/orphans",
    "read",
    "List orphan runs",
    ("A page of them.", shape(orphans=list[Orphan], cursor=str | None)),
)
async def list_orphans(
    request: Request,
    account: Account = None,
    cursor: Annotated[
        str, Query(pattern=r"^\d{0,20}$", description="That of the page before.", examples=[""])
    ] = "",
    limit: Limit = 100,
) -> Response:
    """Return a page of the runs of ours that no job owns; some may come twice."""
    whose = await tenant_scope_of(request).account(account)
    async with one_at_a_time(request) as queue:
        call = operator_calls.list_orphans(whose, cursor or "0", limit)
        then, found = await queue.send(call)
    return json_answer({"orphans": json_value(found), "cursor": None if then == "0" else then})


@router.call("POST /v1/orphans:cancel", "operate", "Cancel orphan runs", _DONE_TO, body=RunIds)
async def cancel_orphans(request: Request, account: Account = None) -> Response:
    """Have the workers cancel orphan runs; those that have ended leave the list."""
    given = await read_model(request, RunIds)
    whose = await tenant_scope_of(request).account(account)
    async with one_at_a_time(request) as queue:
        codes = await queue.send(operator_calls.cancel_orphans(whose, given.run_ids))
    done = codes.count(1)
    set_details(request, {whose: ("", f"{done:,} will be canceled")} if done else {})
    return json_answer({"done": done})


@router.call(
    "GET /v1/inbox",
    "operate",
    "Read refused lines",
    ("A page of them, the oldest first.", shape_of(InboxPage)),
)
async def read_inbox(
    request: Request,
    account: Account = None,
    start: Annotated[
        int, Query(ge=0, le=1_000_000, description="How many to skip.", examples=[0])
    ] = 0,
) -> Response:
    """Return some lines of the inbox and of Celery messages that were refused, whole.

    They may hold secrets, so this needs more than `read`.
    """
    whose = await tenant_scope_of(request).account(account)
    async with one_at_a_time(request) as queue:
        look = await queue.send(inbox_calls.inbox_look(whose, start, PAGE))
        return json_answer(json_value(inbox_page(whose, look)))


@router.call(
    "POST /v1/inbox:{decision}",
    "operate",
    "Put refused lines back, or throw them away",
    _DONE_TO,
    body=LineIds,
)
async def act_on_lines(
    decision: Annotated[
        Literal["retry", "discard"], Path(description="What is done.", examples=["retry"])
    ],
    request: Request,
    account: Account = None,
) -> Response:
    """Put refused lines back into the inbox (`retry`), or throw them away for good (`discard`)."""
    ids = (await read_model(request, LineIds)).line_ids
    whose = await tenant_scope_of(request).account(account)
    async with one_at_a_time(request) as queue:
        retries = decision == "retry"
        done = await (queue.retry_lines if retries else queue.discard_lines)(ids, whose)
    words = "back in the inbox" if retries else "thrown away"
    details = {whose: ("", f"{done:,} of {len(ids):,}: {words}")} if done else {}
    set_details(request, details, f"inbox_{decision}")
    return json_answer({"done": done})
