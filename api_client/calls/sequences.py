"""What takes several calls, in pure parts; the clients send the calls (`async_agent.py`)."""

import time
from collections.abc import Iterable, Iterator, Mapping
from types import NoneType
from typing import Any

from api_client.answers.parsing import NotAListError, parse_bulk_cancel
from api_client.arguments import OMIT, Omit, RequestOptions, segment
from api_client.call import Call, CallKind, make_call
from api_client.calls.calls import CANCEL_PATH, CANCEL_TIMEOUT, MAX_PAGE, get_run, list_runs
from api_client.errors import LocalLimitError, NotFoundError, SkyvernError, WaitTimeoutError
from api_client.retrying import may_again
from api_client.types import BulkCancelRunsResponse, RunListItem, RunResponse

#: Runs to one request of a bulk cancel: the server's bound.
CANCEL_CHUNK = 100

#: Seconds that the last read of a wait may take, at least.
LAST_READ = 5.0

#: Seconds without a read that succeeds, after which a wait gives up.
_OUTAGE = 300.0

#: Seconds. A run that was just made is not found for a moment by some servers.
_NOT_FOUND_GRACE = 10.0


class RunWait:
    """A wait for a run's end: what to read, and how long to pause; arguments as `wait_for_run`.

    Raises:
        ValueError: a time that is none.
    """

    def __init__(
        self,
        run_id: str,
        timeout: float | None,
        min_interval: float,
        max_interval: float,
        request_options: RequestOptions | None,
    ) -> None:
        if not 0 < min_interval <= max_interval:
            raise ValueError("min_interval: expected more than 0 and at most max_interval seconds")
        if timeout is not None and not timeout >= 0:
            raise ValueError(f"timeout: expected 0 seconds or more, got {timeout!r}")
        self._run_id, self._timeout = run_id, timeout
        self._least, self._most = min_interval, max_interval
        self._call = get_run(run_id, request_options=request_options)
        self._start = self._good = time.monotonic()
        self._run: RunResponse | None = None

    def next_call(self) -> Call[RunResponse]:
        """Return the next read."""
        if self._timeout is not None:
            left = self._timeout - (time.monotonic() - self._start)
            self._call.limit = max(left, LAST_READ)
        return self._call

    def learn(self, run: RunResponse) -> float | None:
        """Take in a read; returns the seconds to pause, or None: the run is over.

        Raises:
            WaitTimeoutError: the time is up.
        """
        self._run, self._good = run, time.monotonic()
        return None if run.is_over else self._pause(None)

    def learn_of_failure(self, error: SkyvernError) -> float:
        """Take in that a read failed; returns the seconds to pause.

        Raises:
            SkyvernError: the error, if it ends the wait; or `WaitTimeoutError`.
        """
        now = time.monotonic()
        if not _may_wait_on(error, now - self._start, now - self._good):
            raise error
        return self._pause(error)

    def _pause(self, failed: SkyvernError | None) -> float:
        waited = time.monotonic() - self._start
        if self._timeout is not None and waited >= self._timeout:
            # Whatever the server calls it, in one line that a log can take.
            status = ascii(self._run.status[:40])[1:-1] if self._run is not None else "not known"
            words = f"run {self._run_id} is {status} after {waited:.0f} s"
            raise WaitTimeoutError(words, self._run) from failed
        retry_after: float | None = getattr(failed, "retry_after", None)
        spaced = max(min(max(self._least, waited / 10), self._most), retry_after or 0.0)
        return spaced if self._timeout is None else min(spaced, self._timeout - waited)


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


def cancel_chunks(
    run_ids: Iterable[str], request_options: RequestOptions | None
) -> Iterator[Call[BulkCancelRunsResponse]]:
    """Return the calls of `cancel_runs`, whose arguments and errors these are."""
    if isinstance(run_ids, str):
        raise TypeError("run_ids: expected several ids, got one text")
    ids = list(run_ids)
    for one in ids:
        if not isinstance(one, str):
            raise TypeError(f"run_ids: expected ids as text, got {type(one).__name__}")
    ids = list(dict.fromkeys(ids))
    for start in range(0, len(ids), CANCEL_CHUNK):
        yield make_call(
            CallKind.CANCEL,
            CANCEL_PATH,
            parse_bulk_cancel,
            fields={"run_ids": ids[start : start + CANCEL_CHUNK]},
            request_options=request_options,
            patience=CANCEL_TIMEOUT,
            route="cancel_runs",
        )


def reason_reads(
    run_id: str, request_options: RequestOptions | None = None
) -> list[Call[str | Omit | None]]:
    """Return the reads of `webhook_failure_reason`, in their order, until one tells the reason.

    By `NotSupported`, and by `OMIT`, a server says that it does not tell it there.
    """
    path = segment(run_id)

    def read(at: str, route: str, **query: str) -> Call[str | Omit | None]:
        def read(answer: Any) -> str | Omit | None:
            return _failure_reason(answer, run_id)

        return make_call(
            CallKind.READ, at, read, query=query, request_options=request_options, route=route
        )

    if run_id.startswith("wr_"):
        return [
            read("v1/agents/runs", "agent_runs", search_key=run_id),
            read(f"v1/workflows/runs/{path}", "workflow_run"),
        ]
    return [read(f"api/v1/tasks/{path}", "task")]


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
