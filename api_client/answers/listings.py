"""What the answers about many runs at once mean: a page of the list, a bulk cancel. Pure functions.

Not every server has these calls. One that has not says 404 or 405 about the path, or answers in
another shape; that is never "there are no runs".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from api_client.answers.parts import (
    credits_of,
    failure_category,
    is_route_missing,
    parse_json,
    read_trouble,
    refused_with,
    server_date,
    server_words,
    stored_seconds,
    text_or_none,
    unix_time,
)


class ListClass(StrEnum):
    """What reading a list of runs came to; the last four as in `ReadClass`."""

    DONE = "done"
    NOT_SUPPORTED = "not_supported"
    BUSY = "busy"
    ACCOUNT = "account"
    TROUBLE = "trouble"


@dataclass(frozen=True, slots=True)
class ListedRun:
    """A run as a list shows it; each of the rest is None where the list does not say.

    Attributes:
        created, finished: unix seconds.
        workflow_id: the workflow that it runs, if it does (`wpid_…`).
        trigger_type: what started it: `api`, `manual`, `scheduled`, ….
        failure_category: the surest one.
        credits, cached_credits: what it used; 0 on a self-hosted server, which bills none.
        parent_run_id: the run that started it.
        debug_session_id: of a run that somebody started while editing the workflow.
        retry_pending: the server is about to run it again, whatever its status.
    """

    run_id: str
    status: str
    run_type: str | None
    title: str | None
    created: float | None
    finished: float | None = None
    workflow_id: str | None = None
    trigger_type: str | None = None
    failure_category: str | None = None
    credits: int | None = None
    cached_credits: int | None = None
    parent_run_id: str | None = None
    debug_session_id: str | None = None
    retry_pending: bool | None = None


@dataclass(frozen=True, slots=True)
class RunPage:
    """One page of the account's runs, newest first.

    Attributes:
        runs: the page's.
        is_short: fewer came than a page holds, so this is the last one.
        server_date: the server's clock when the answer came, unix seconds.
        age: for how many seconds a cache had stored the answer; 0 = none had. Runs that
            were made meanwhile are missing in it.
    """

    outcome: ListClass
    runs: tuple[ListedRun, ...] = ()
    is_short: bool = False
    detail: str = ""
    status_code: int | None = None
    retry_after: float | None = None
    server_date: float | None = None
    age: float = 0.0


@dataclass(frozen=True, slots=True)
class BulkCancellation:
    """What a cancel of many runs came to; `failed` = unknown, or over before."""

    outcome: ListClass
    cancelled: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()
    detail: str = ""
    status_code: int | None = None
    retry_after: float | None = None


def classify_run_list(
    status: int, body: bytes, headers: Mapping[str, str], page_size: int, age: float = 0.0
) -> RunPage:
    """Say what the answer to a GET of either list means. Never raises.

    Args:
        status: the HTTP status.
        body: the body, whole.
        headers: names in lower case, or a mapping that ignores case.
        page_size: how many runs were requested.
        age: seconds for which the answer was in a cache, as far as its date shows.
    """
    parsed = parse_json(body)
    if 200 <= status < 300:
        runs = _runs(parsed)
        if runs is None:
            return RunPage(_misshapen(parsed), detail="the body is not a list of runs")
        date, age = server_date(headers), max(age, stored_seconds(headers))
        return RunPage(
            ListClass.DONE,
            runs,
            is_short=len(runs) < page_size,
            status_code=status,
            server_date=None if date is None else date + age,
            age=age,
        )
    words = server_words(body, parsed)
    return RunPage(
        _trouble(status, words, parsed),
        **refused_with(status, words, headers),
        server_date=server_date(headers),
    )


def classify_bulk_cancel(status: int, body: bytes, headers: Mapping[str, str]) -> BulkCancellation:
    """Say what the answer to a bulk cancel means. Never raises; arguments as above."""
    parsed = parse_json(body)
    if 200 <= status < 300:
        if not isinstance(parsed, dict) or not isinstance(parsed.get("cancelled"), list):
            return BulkCancellation(_misshapen(parsed), detail="not a bulk cancel's answer")
        failed = parsed.get("failed")
        return BulkCancellation(
            ListClass.DONE,
            _texts(parsed["cancelled"]),
            _texts(failed if isinstance(failed, list) else []),
            status_code=status,
        )
    words = server_words(body, parsed)
    return BulkCancellation(_trouble(status, words, parsed), **refused_with(status, words, headers))


def _runs(parsed: Any) -> tuple[ListedRun, ...] | None:
    """Read a list; one item that is no run makes it something else than the list we know."""
    if not isinstance(parsed, list):
        return None
    runs = []
    for item in parsed:
        fields = item if isinstance(item, dict) else {}
        # The list of workflow runs calls some things otherwise.
        run_id = text_or_none(fields.get("run_id")) or text_or_none(fields.get("workflow_run_id"))
        status, retry_pending = text_or_none(fields.get("status")), fields.get("retry_pending")
        if run_id is None or status is None:
            return None
        runs.append(
            ListedRun(
                run_id,
                status,
                text_or_none(fields.get("task_run_type")),
                text_or_none(fields.get("title")) or text_or_none(fields.get("workflow_title")),
                unix_time(fields.get("created_at")),
                unix_time(fields.get("finished_at")),
                text_or_none(fields.get("workflow_permanent_id")),
                text_or_none(fields.get("trigger_type")),
                failure_category(fields.get("failure_category")),
                credits_of(fields.get("credits_used")),
                credits_of(fields.get("cached_credits_used")),
                text_or_none(fields.get("parent_workflow_run_id")),
                text_or_none(fields.get("debug_session_id")),
                retry_pending if isinstance(retry_pending, bool) else None,
            )
        )
    return tuple(runs)


def _texts(values: list[Any]) -> frozenset[str]:
    return frozenset(value for value in values if isinstance(value, str))


def _misshapen(parsed: Any) -> ListClass:
    """Class a success without what was asked for: another server's answer, or one that was cut."""
    return ListClass.TROUBLE if parsed is None else ListClass.NOT_SUPPORTED


def _trouble(status: int, words: str, parsed: Any) -> ListClass:
    if status == 405 or (status == 404 and is_route_missing(words, parsed)):
        return ListClass.NOT_SUPPORTED
    trouble = read_trouble(status, words, parsed)
    return ListClass.ACCOUNT if trouble == "not_found" else ListClass(trouble)
