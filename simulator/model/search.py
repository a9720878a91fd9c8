"""The list of runs: its searched texts, filters and pages."""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import islice
from typing import Annotated, NamedTuple

from pydantic import BaseModel, Field

from simulator.model.runs import LIVE_STATUSES, Run, RunType, Status
from simulator.model.store import Store
from simulator.model.tags import Tags, Terms
from simulator.replies import RefusedError

#: A search goes no further than this many matches.
MAX_MATCHES = 1000


class _Paged(BaseModel):
    page: Annotated[int, Field(ge=1, le=100)] = 1
    page_size: Annotated[int, Field(ge=1, le=100)] = 10
    search_key: Annotated[str, Field(min_length=3)] | None = None


class ListQuery(_Paged):
    """The query of `GET /v1/runs`; `page` counts from 1."""

    status: list[Status] | None = None
    run_type: list[RunType] | None = None
    workflow_permanent_id: Annotated[list[str] | None, Field(max_length=50)] = None
    tags: Annotated[list[str] | None, Field(max_length=20)] = None
    failure_category: Annotated[str | None, Field(max_length=100)] = None

    def check_depth(self) -> None:
        """Check that a search does not go further than `SEARCH_LIMIT`.

        Raises:
            RefusedError: 400, it does.
        """
        narrowed = self.search_key or self.workflow_permanent_id
        if narrowed and (self.page - 1) * self.page_size >= MAX_MATCHES:
            deep = f"Search pagination is limited to the first {MAX_MATCHES} matches."
            raise RefusedError(400, deep)


class OlderStatus(StrEnum):
    """The statuses of a run on releases that know no pause."""

    CREATED = "created"
    QUEUED = "queued"
    RUNNING = "running"
    TIMED_OUT = "timed_out"
    FAILED = "failed"
    TERMINATED = "terminated"
    COMPLETED = "completed"
    CANCELED = "canceled"


class OlderListQuery(_Paged):
    """The query of `GET /v1/runs` on releases that ignore the rest of it."""

    status: list[OlderStatus] | None = None


class Found(NamedTuple):
    """One element of the list.

    Args:
        run: the run.
        hidden: it is listed as the workflow run that a 2.0 task makes beneath itself.
    """

    run: Run
    hidden: bool = False


def haystack(*texts: str | None) -> str:
    """The searched text, in lower case."""
    # A line feed between them, so that no search matches across two of them.
    return "\n".join(text for text in texts if text).lower()


def find(
    store: Store, query: ListQuery, terms: Terms, now: float, *, inputs: bool = True
) -> list[Found]:
    """One page of the runs that match, newest first.

    Args:
        store: all runs.
        query: the request's query.
        terms: the requested tags.
        now: unix seconds.
        inputs: whether a search reads inputs, headers and webhook URLs of workflow runs.
    """
    only_live = query.status and LIVE_STATUSES.issuperset(query.status)
    runs = store.live_newest_first() if only_live else store.newest_first()
    matches = _matches(runs, query, terms, now, inputs=inputs)
    first = (query.page - 1) * query.page_size
    last = first + query.page_size
    if query.search_key:
        last = min(last, MAX_MATCHES)
    return list(islice(matches, first, last))


def find_workflow_runs(store: Store, search_key: str, *, webhook_urls: bool) -> Iterator[Found]:
    """The workflow runs that match, newest first, with those beneath 2.0 tasks.

    Args:
        store: all runs.
        search_key: the searched text.
        webhook_urls: whether a search reads webhook URLs.
    """
    key = search_key.lower()
    for run in store.newest_first():
        if run.submission.kind != "workflow":
            if _matches_beneath(run, key):
                yield Found(run, hidden=True)
        elif matches_key(run, key, webhook_urls=webhook_urls):
            yield Found(run)


def matches_key(run: Run, key: str, *, inputs: bool = True, webhook_urls: bool = True) -> bool:
    """Whether a search finds a run.

    Args:
        run: the run.
        key: the searched text, in lower case.
        inputs: whether it reads inputs, headers and webhook URLs of workflow runs.
        webhook_urls: whether it then reads the last of these.
    """
    submission = run.submission
    if key in submission.haystack or key in run.run_id:
        return True
    if not inputs or submission.kind != "workflow":
        return False
    by_url = webhook_urls and key in (submission.webhook_url or "").lower()
    return by_url or key in submission.inputs_haystack


def _matches(
    runs: Iterable[Run], query: ListQuery, terms: Terms, now: float, *, inputs: bool
) -> Iterator[Found]:
    key = (query.search_key or "").lower()
    for run in runs:
        if query.status and run.status(now) not in query.status:
            continue
        if terms and not (run.submission.kind == "workflow" and (run.tags or Tags()).fit(terms)):
            continue
        if not _is_wanted(run, query):
            continue
        if not key or matches_key(run, key, inputs=inputs):
            yield Found(run)
        elif inputs and _matches_beneath(run, key):
            yield Found(run, hidden=True)


def _is_wanted(run: Run, query: ListQuery) -> bool:
    submission = run.submission
    if query.failure_category:
        # The simulated failures are of no category.
        return False
    if query.run_type and submission.run_type not in query.run_type:
        return False
    wanted = query.workflow_permanent_id
    return not wanted or (submission.kind == "workflow" and submission.target in wanted)


def _matches_beneath(run: Run, key: str) -> bool:
    beneath = run.submission.hidden_haystack
    return beneath is not None and (key in beneath or key in run.hidden_id)
