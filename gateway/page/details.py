"""The pages of single records: a job and its attempts, a batch; the search; results as files."""

import json
import re
from contextlib import suppress
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import orjson
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gateway.page.forms import back
from gateway.page.render import HEADERS, page
from gateway.page.viewer import Viewer, list_page, viewer_of
from runqueue import ids
from runqueue.errors import BatchNotFound, JobNotFound
from runqueue.ids import is_id, is_name
from runqueue.producer.listing import Filter
from runqueue.records.job import Job
from runqueue.records.retention import RETENTION_SECONDS
from runqueue.store import worker_calls
from runqueue.store.history import Attempt, JobHistory, JobStep

#: Characters of an output that a page shows.
_LONGEST: Final = 20_000
#: The fields of an output that link to the run at Skyvern.
_LINKS: Final = ("app_url", "recording_url")
#: Characters of a search.
_MOST: Final = 256
#: The pages that list jobs.
_LISTS: Final = re.compile(r"/(jobs|webhooks|batches/[a-z2-7]+)(\?.*)?")


class TimelinePart(NamedTuple):
    """One attempt of a job, or what came before the first.

    Args:
        number: of the attempt; 0 = before the first.
        attempt: what is known of its run; None = it had none.
        steps: each with the seconds since the step before it; None = it is the job's first.
        seconds: from the attempt's first step to its last.
    """

    number: int
    attempt: Attempt | None
    steps: list[tuple[JobStep, float | None]]
    seconds: float


def timeline_of(history: JobHistory) -> list[TimelinePart]:
    """Return the past steps of a job by attempt; a step of none belongs to the one before it."""
    attempts = {one.attempt: one for one in history.attempts}
    found: list[TimelinePart] = []
    last: JobStep | None = None
    for step in history.steps:
        if step.ahead:
            break
        number = step.attempt or (found[-1].number if found else 0)
        if not found or found[-1].number != number:
            found.append(TimelinePart(number, attempts.get(number), [], 0))
        seconds = (step.at - last.at).total_seconds() if last else None
        steps = found[-1].steps
        steps.append((step, seconds))
        lasted = (step.at - steps[0][0].at).total_seconds()
        found[-1] = found[-1]._replace(seconds=lasted if step.attempt else found[-1].seconds)
        last = step
    return found


async def job(request: Request) -> Response:
    """Show a job: its request, its state, and its life."""
    viewer = await viewer_of(request)
    job_id = str(request.path_params["job_id"])
    account = await viewer.tenant_scope.owner(job_id)
    if account is None:
        raise JobNotFound(job_id)
    history = await viewer.queue._history(job_id)  # noqa: SLF001 - `timeline` has it as JSON
    (found,) = await viewer.queue.get_many([job_id])
    if found is None or history is None:
        raise JobNotFound(job_id)
    runs = {one.run_id for one in history.attempts}
    values = {
        "account": account,
        "job": found,
        "batch_name": await _batch_name(viewer, found),
        "history": history,
        "timeline": timeline_of(history),
        "other_runs": [run for run in history.earlier_runs if run not in runs],
        "ahead": [step for step in history.steps if step.ahead],
        "list": _list_before(request),
        "request_shown": history.request_shown.items(),
        "request_hidden": history.request_hidden,
        "output": _output(found),
        "links": _links(found),
        "actions": actions_of(found),
        "done": await viewer.done(account, request.query_params.get("done", "")),
    }
    return page(request, "job.html", viewer, values)


def _list_before(request: Request) -> str:
    """Return the address of the list from which a job was opened; '' = of none that is known."""
    before = request.query_params.get("list", "")
    with suppress(ValueError):
        url = urlsplit(request.headers.get("referer", ""))
        before = before or f"{url.path}?{url.query}"
    address = back({"next": before})
    return address if _LISTS.fullmatch(address) else ""


async def _batch_name(viewer: Viewer, job: Job) -> str:
    """Return the name of a job's batch; '' = it has none."""
    with suppress(BatchNotFound):
        return (await viewer.queue.get_batch(job.batch)).name if job.batch else ""
    return ""


def actions_of(job: Job) -> set[str]:
    """Return the actions that a job allows in its state."""
    if job.state == "unconfirmed":
        return {"adopt", "resubmit", "fail", "cancel"} - (
            {"cancel"} if job.cancel_requested else set()
        )
    if not job.is_over:
        return set() if job.cancel_requested or job.paused_since else {"cancel"}
    found = {"replay"} if job.state != "completed" else set()
    if job.state == "dead":
        found.add("discard")
    if job.webhook.state in {"abandoned", "unknown", "pending"}:
        found.add("deliver")
    return found


def _output(job: Job) -> str:
    """Return the run's output as text."""
    if job.output is None:
        return ""
    text = _as_text(job.output)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}\n… ({len(text):,} characters)"


def _as_text(output: Any) -> str:
    """Return indented JSON, unless it is nested too deep for that."""
    with suppress(orjson.JSONEncodeError):
        return orjson.dumps(output, option=orjson.OPT_INDENT_2).decode()
    with suppress(RecursionError):
        return json.dumps(output, ensure_ascii=False)
    return "(nested too deeply to be shown)"


def _links(job: Job) -> list[tuple[str, str]]:
    """Return the URL of the run at Skyvern; '' = it is no web address."""
    found = []
    for name in _LINKS:
        url = (job.result or {}).get(name)
        if isinstance(url, str) and _is_web(url):
            found.append((name.removesuffix("_url"), url))
    return found


def _is_web(url: str) -> bool:
    try:
        return urlsplit(url).scheme in {"http", "https"}
    except ValueError:
        return False


@list_page
async def batch(request: Request, viewer: Viewer) -> Response:
    """Show a batch and a page of its jobs."""
    batch_id = str(request.path_params["batch_id"])
    account = await viewer.tenant_scope.owner(batch_id)
    if account is None:
        raise BatchNotFound(batch_id)
    found = await viewer.queue.get_batch(batch_id)
    state = request.query_params.get("state") or None
    cursor = request.query_params.get("cursor", "")
    jobs = await viewer.queue.list_jobs(
        Filter(batch=batch_id, state=state), account=account, cursor=cursor
    )
    values = {
        "account": account,
        "batch": found,
        "jobs": jobs.jobs,
        "unread": jobs.unread,
        "state": state or "",
        "cursor": jobs.cursor,
        "done": await viewer.done(account, request.query_params.get("done", "")),
    }
    return page(request, "batch.html", viewer, values)


async def search(request: Request) -> Response:
    """Go to the job or batch of an id, a run's id or a custom_id; say so if there is none."""
    viewer = await viewer_of(request)
    text = request.query_params.get("q", "").strip()[:_MOST]
    namespace = request.query_params.get("namespace", "").strip()
    found = await _find(viewer, text, namespace) if text else ""
    if found:
        return RedirectResponse(found, 303, HEADERS)
    days = RETENTION_SECONDS // 86_400
    values = {"text": text, "namespace": namespace, "retention_days": days}
    return page(request, "search.html", viewer, values, 404 if text else 200)


async def _find(viewer: Viewer, text: str, namespace: str) -> str:
    """Return the page of a job or batch; '' = nothing has that name."""
    if is_id(text) and await viewer.tenant_scope.owner(text):
        (found,) = await viewer.queue.get_many([text], result=False)
        if found is not None:
            return f"/jobs/{text}"
        try:
            await viewer.queue.get_batch(text)
        except BatchNotFound:
            pass
        else:
            return f"/batches/{text}"
    for account in await viewer.queue.accounts():
        (owner,) = await viewer.queue.send(worker_calls.owned_runs(account, [text]))
        if owner:
            return f"/jobs/{owner}"
        if not namespace or is_name(namespace):
            job_id = ids.job_id_for(account, namespace, text)
            (found,) = await viewer.queue.get_many([job_id], result=False)
            if found is not None:
                return f"/jobs/{job_id}"
    return ""
