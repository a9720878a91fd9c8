"""What takes several calls. Pure generators: they give a `Call` or a `Pause`, and get its result.

The driver sends each call and passes back what it returned, or throws in what it raised.
Each function is a method of both clients, as those in `calls.py` are.
"""

import time
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import NoneType
from typing import Any, TypeVar

from api_client.answers.parsing import NotAListError, parse_bulk_cancel
from api_client.arguments import OMIT, Omit, RequestOptions, segment
from api_client.call import Call, CallKind, make_call
from api_client.calls.calls import (
    CANCEL_PATH,
    CANCEL_TIMEOUT,
    MAX_PAGE,
    get_run,
    list_runs,
)
from api_client.errors import (
    LocalLimitError,
    NotFoundError,
    NotSupported,
    SkyvernError,
    WaitTimeoutError,
)
from api_client.retrying import may_again
from api_client.types import BulkCancelRunsResponse, RunListItem, RunResponse

T = TypeVar("T")

#: Runs to one request of a bulk cancel: the server's bound.
CANCEL_CHUNK = 100

#: Seconds that the last read of a wait may take, at least.
LAST_READ = 5.0

#: Seconds without a read that succeeds, after which a wait gives up.
_OUTAGE = 300.0

#: Seconds. A run that was just made is not found for a moment by some servers.
_NOT_FOUND_GRACE = 10.0


@dataclass(frozen=True, slots=True)
class Pause:
    """A wait between two calls, in seconds."""

    seconds: float


Flow = Generator[Call[Any] | Pause, Any, T]


async def drive(flow: Flow[T], step: Callable[[Call[Any] | Pause], Awaitable[Any]]) -> T:
    """Make all steps of a flow, and return what it comes to.

    Args:
        flow: gets what each step returns, and what it raises if that is a `SkyvernError`.
        step: sends a call, or waits for a pause.
    """
    try:
        todo = next(flow)
        while True:
            try:
                result = await step(todo)
            except SkyvernError as error:
                todo = flow.throw(error)
            else:
                todo = flow.send(result)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # what a Flow[T] returns is a T


def wait_for_run(
    run_id: str,
    *,
    timeout: float | None = None,
    min_interval: float = 1.0,
    max_interval: float = 30.0,
    request_options: RequestOptions | None = None,
) -> Flow[RunResponse]:
    """Read a run until it is over, and return it.

    A read comes after a tenth of the time waited so far, but not sooner than `min_interval` and not
    later than `max_interval`: a run of five minutes is read some fifty times.

    A read that fails in passing does not end the wait, unless none succeeds for five minutes; the
    next comes no sooner than the server allows.

    Args:
        run_id: the run.
        timeout: seconds to wait; None = for ever. The last read may take `LAST_READ` seconds more.
        min_interval, max_interval: seconds between two reads.
        request_options: as everywhere; they hold for each read.

    Raises:
        WaitTimeoutError: the run goes on; its `run` is the last that was read of it.
        NotFoundError: there is no such run, ten seconds after the first read.
        SkyvernError: reading it fails, for good or for five minutes.
        ValueError: a time that is none.
    """
    _check_wait(timeout, min_interval, max_interval)
    call = get_run(run_id, request_options=request_options)
    start = good = time.monotonic()
    run: RunResponse | None = None
    while True:
        if timeout is not None:
            call.limit = max(timeout - (time.monotonic() - start), LAST_READ)
        failed: SkyvernError | None = None
        try:
            run = yield call
            good = time.monotonic()
        except SkyvernError as error:
            failed = error
            if not _may_wait_on(error, time.monotonic() - start, time.monotonic() - good):
                raise
        if run is not None and run.is_over:
            return run
        waited = time.monotonic() - start
        if timeout is not None and waited >= timeout:
            # Whatever the server calls it, in one line that a log can take.
            status = ascii(run.status[:40])[1:-1] if run is not None else "not known"
            raise WaitTimeoutError(
                f"run {run_id} is {status} after {waited:.0f} s", run
            ) from failed
        retry_after: float | None = getattr(failed, "retry_after", None)
        spaced = max(min(max(min_interval, waited / 10), max_interval), retry_after or 0.0)
        yield Pause(spaced if timeout is None else min(spaced, timeout - waited))


def _check_wait(timeout: float | None, min_interval: float, max_interval: float) -> None:
    if not 0 < min_interval <= max_interval:
        raise ValueError("min_interval: expected more than 0 and at most max_interval seconds")
    if timeout is not None and not timeout >= 0:
        raise ValueError(f"timeout: expected 0 seconds or more, got {timeout!r}")


def _may_wait_on(error: SkyvernError, waited: float, without: float) -> bool:
    """Say whether a wait goes on after a read that failed.

    Args:
        error: what it failed with.
        waited: seconds since the wait began.
        without: seconds since a read succeeded.
    """
    if isinstance(error, NotFoundError):
        return waited <= _NOT_FOUND_GRACE
    # What our own limiter keeps back for longer than one read may take passes, too.
    passes = may_again(CallKind.READ, error) or isinstance(error, LocalLimitError)
    return passes and without <= _OUTAGE


def cancel_runs(
    run_ids: Iterable[str], *, request_options: RequestOptions | None = None
) -> Flow[BulkCancelRunsResponse]:
    """Cancel many runs, a hundred to a request (POST v1/runs/cancel; newer servers).

    Args:
        run_ids: the runs; each is sent once.
        request_options: as everywhere; they hold for each request.

    Raises:
        NotSupported: a server without this call.
        SkyvernError: a request failed; the runs of the requests before it are canceled.
    """
    if isinstance(run_ids, str):
        raise TypeError("run_ids: expected several ids, got one text")
    ids = list(run_ids)
    for one in ids:
        if not isinstance(one, str):
            raise TypeError(f"run_ids: expected ids as text, got {type(one).__name__}")
    ids = list(dict.fromkeys(ids))
    cancelled: list[str] = []
    failed: list[str] = []
    for start in range(0, len(ids), CANCEL_CHUNK):
        answer = yield make_call(
            CallKind.CANCEL,
            CANCEL_PATH,
            parse_bulk_cancel,
            fields={"run_ids": ids[start : start + CANCEL_CHUNK]},
            request_options=request_options,
            patience=CANCEL_TIMEOUT,
            route="cancel_runs",
        )
        cancelled += answer.cancelled
        failed += answer.failed
    return BulkCancelRunsResponse(cancelled=cancelled, failed=failed)


def webhook_failure_reason(
    run_id: str, *, request_options: RequestOptions | None = None
) -> Flow[str | None]:
    """Say why Skyvern gave up on a run's webhook, which `get_run` does not report.

    Workflow runs (`wr_…`) are looked up in GET v1/agents/runs?search_key=, or on servers without
    it in GET v1/workflows/runs/{run_id}; tasks in GET api/v1/tasks/{run_id}.

    Returns:
        None: no delivery was tried, or it is still being tried (up to about 100 s after the run's
        end). "": delivered. Else the reason; a later success of a replay does not clear it.

    Raises:
        NotFoundError: no such run.
        NotSupported: the server does not report it.
    """
    path = segment(run_id)

    def read(at: str, route: str, **query: str) -> Call[str | Omit | None]:
        def read(answer: Any) -> str | Omit | None:
            return _failure_reason(answer, run_id)

        return make_call(
            CallKind.READ, at, read, query=query, request_options=request_options, route=route
        )

    reason: str | Omit | None = OMIT
    if run_id.startswith("wr_"):
        with suppress(NotSupported):
            reason = yield read("v1/agents/runs", "agent_runs", search_key=run_id)
        if reason is OMIT:
            reason = yield read(f"v1/workflows/runs/{path}", "workflow_run")
    else:
        reason = yield read(f"api/v1/tasks/{path}", "task")
    if isinstance(reason, Omit):
        raise NotSupported(f"this server does not report the webhook of run {run_id}")
    return reason


class Pages:
    """The pages of the list of runs, one after the other; arguments as in `calls.list_runs`."""

    def __init__(self, **filters: Any) -> None:
        kept = (str, Mapping, NoneType)  # what else there is may be read only once
        self._filters: dict[str, Any] = {
            name: value if isinstance(value, kept) else list(value)
            for name, value in filters.items()
        }
        self._page = 1
        self._seen: set[str] = set()

    def next_page(self) -> Call[list[RunListItem]] | None:
        """Return the call of the next page; None after the last."""
        return None if self._page > MAX_PAGE else list_runs(page=self._page, **self._filters)

    def new_items(self, page: list[RunListItem]) -> list[RunListItem]:
        """Take a page's answer and return the runs that were on no page before."""
        new = [item for item in page if item.run_id not in self._seen]
        self._seen.update(item.run_id for item in new)
        # Not by its length: a server may give fewer to a page than were requested.
        self._page = self._page + 1 if new else MAX_PAGE + 1
        return new


def _failure_reason(answer: Any, run_id: str) -> str | Omit | None:
    """Find the run in an answer (itself, or a list it should be in); `OMIT` if it is missing."""
    if isinstance(answer, list):
        answer = next((item for item in answer if _names(item, run_id)), {})
    if not isinstance(answer, dict):
        raise NotAListError("neither a run nor a list of runs")
    reason = answer.get("webhook_failure_reason", OMIT)
    if reason is None or isinstance(reason, str | Omit):
        return reason
    raise ValueError("webhook_failure_reason: neither text nor null")


def _names(item: object, run_id: str) -> bool:
    return isinstance(item, dict) and run_id in (item.get("workflow_run_id"), item.get("run_id"))
