"""What an answer, or the lack of one, means for a run. Pure functions over what came back.

There is no idempotency key on a run submission: a second POST is a second, paid, run. So every
answer to one is put in one of six classes, and only what is known not to have made a run may be
sent again:

accepted    a run exists, and its id is known
not_sent    no byte left this machine
busy        no run was made: send it again, later (and, after a 429, slower)
refused     no run was made, and none will be while the request stays as it is
account     no run was made, for a reason every request of the account shares (key, balance, URL)
unknown     a run may exist. Whatever is not named here is this.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Self

from api_client.answers.occupied import says_occupied
from api_client.answers.parts import (
    NO_FIGURES,
    RunFigures,
    is_route_missing,
    named_rate,
    parse_json,
    read_trouble,
    refused_with,
    run_figures,
    server_date,
    server_words,
    text_or_none,
)
from api_client.errors import RATE_LIMITED, BodyTooLargeError, NotSentError
from api_client.types import is_over

#: How the answer of a run begins.
_RUN_BEGINS = re.compile(
    rb'\s*\{\s*"run_id"\s*:\s*"([!-~]{1,200}?)"\s*,\s*"status"\s*:\s*"([!-~]{1,100}?)"\s*,'
)


class SubmissionClass(StrEnum):
    """What a submission came to; the module's docstring says what each means."""

    ACCEPTED = "accepted"
    NOT_SENT = "not_sent"
    BUSY = "busy"
    REFUSED = "refused"
    ACCOUNT = "account"
    UNKNOWN = "unknown"


class ReadClass(StrEnum):
    """What reading a run came to.

    RUN: here it is. NOT_FOUND: the server knows no such run. BUSY: 429. ACCOUNT: key, plan or base
    URL. TROUBLE: nothing was learned; read again later.
    """

    RUN = "run"
    NOT_FOUND = "not_found"
    BUSY = "busy"
    ACCOUNT = "account"
    TROUBLE = "trouble"


class CancelClass(StrEnum):
    """What a cancel of a run came to.

    DONE: the server took it. OVER: the run was over before. The others are as in `ReadClass`; after
    TROUBLE the run may be canceled all the same (a cancel sends the webhook inside the request, and
    a dead receiver makes it a 500).
    """

    DONE = "done"
    OVER = "over"
    NOT_FOUND = "not_found"
    BUSY = "busy"
    ACCOUNT = "account"
    TROUBLE = "trouble"


# Not frozen: a frozen one of ten fields takes a microsecond more to make, and each call makes one.
@dataclass(slots=True)
class Submission:
    """What one POST of a run came to.

    Attributes:
        outcome: its class.
        run_id: the run, when accepted.
        run_status: the run's status as the answer gives it, when accepted.
        detail: the server's words, or the transport's; one line, at most 500 characters.
        status_code: the HTTP status; None when no answer came.
        retry_after: seconds for which the server wants no request, 0 to 3,600.
        server_date: the server's clock at the answer, unix seconds.
        named_rate: submissions a second that a 429 says the server takes.
        needs_key_check: 401 or 403. Read something with the same key, then `with_key_check`.
        is_of_request: busy for a reason that other requests of the account do not share.
        hints_at_run: refused because something that serves one run has served one: that of an
            earlier submission of the same request, if its answer was lost.
        body: the answer as it came.
        shown: the answer's JSON, when accepted.
    """

    outcome: SubmissionClass
    run_id: str | None = None
    run_status: str | None = None
    detail: str = ""
    status_code: int | None = None
    retry_after: float | None = None
    server_date: float | None = None
    named_rate: float | None = None
    needs_key_check: bool = False
    is_of_request: bool = False
    hints_at_run: bool = False
    body: bytes = field(default=b"", repr=False)
    shown: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)

    def with_key_check(self, allowed: bool | None) -> Self:
        """Settle a 401 or 403: a read that the same key is allowed makes it this request's fault.

        Args:
            allowed: what the read came to; None (it is not known) leaves it the account's.
        """
        if not self.needs_key_check or allowed is None:
            return self
        outcome = SubmissionClass.REFUSED if allowed else SubmissionClass.ACCOUNT
        return replace(self, outcome=outcome, needs_key_check=False)


@dataclass(slots=True)
class RunReading:
    """What one GET of a run came to.

    Attributes:
        outcome: its class.
        run_id: the run's id as the answer gives it.
        run_status: its status, also one that is not known yet.
        is_over: the status is terminal and the server is not about to try again.
        failure_reason: the server's words on a run that failed.
        detail: the server's words on a read that failed, or the transport's.
        status_code, retry_after, server_date, body: as in `Submission`.
        figures: what a run that is over took, as far as the server reports.
        is_cut: the answer was larger than the transport's limit: `body` is empty, and only what
            its beginning says is known.
    """

    outcome: ReadClass
    run_id: str | None = None
    run_status: str | None = None
    is_over: bool = False
    failure_reason: str | None = None
    detail: str = ""
    status_code: int | None = None
    retry_after: float | None = None
    server_date: float | None = None
    body: bytes = field(default=b"", repr=False)
    figures: RunFigures = NO_FIGURES
    is_cut: bool = False

    @property
    def shown(self) -> dict[str, Any]:
        """The body's JSON, parsed anew; {} = it is no object."""
        parsed = parse_json(self.body)
        return parsed if isinstance(parsed, dict) else {}


@dataclass(frozen=True, slots=True)
class WorkflowReading:
    """What one GET of a workflow came to; None = it could not be read."""

    workflow: Mapping[str, Any] | None = field(default=None, repr=False)
    status_code: int | None = None


@dataclass(frozen=True, slots=True)
class RunTags:
    """What one GET of a run's tags came to.

    Args:
        by_key: the tags that have a key; empty also if the run can have none, or the server shows
            no tags; None = nothing was learned.
        status_code: the HTTP status.
    """

    by_key: Mapping[str, str] | None = field(default=None, repr=False)
    status_code: int | None = None


@dataclass(frozen=True, slots=True)
class Cancellation:
    """What a cancel of a run came to; attributes as in `Submission`."""

    outcome: CancelClass
    detail: str = ""
    status_code: int | None = None
    retry_after: float | None = None


def classify_submission(status: int, body: bytes, headers: Mapping[str, str]) -> Submission:
    """Say what the answer to a run submission means. Never raises.

    Args:
        status: the HTTP status.
        body: the body, whole.
        headers: names in lower case, or a mapping that ignores case.
    """
    parsed = parse_json(body)
    if 200 <= status < 300:
        return _accepted(status, body, parsed, headers)
    words = server_words(body, parsed)
    return Submission(
        _refusal(status, words, parsed),
        **refused_with(status, words, headers),
        server_date=server_date(headers),
        named_rate=named_rate(words) if status in RATE_LIMITED else None,
        needs_key_check=status in {401, 403},
        is_of_request=_is_of_request(status, words),
        hints_at_run=_is_file_used(status, words),
        body=body,
    )


def _accepted(status: int, body: bytes, parsed: Any, headers: Mapping[str, str]) -> Submission:
    run_id = text_or_none(parsed.get("run_id")) if isinstance(parsed, dict) else None
    if run_id is None:
        return Submission(
            SubmissionClass.UNKNOWN,
            detail=f"HTTP {status} and no run_id in the body",
            status_code=status,
            server_date=server_date(headers),
            body=body,
        )
    return Submission(
        SubmissionClass.ACCEPTED,
        run_id=run_id,
        run_status=text_or_none(parsed.get("status")),
        status_code=status,
        server_date=server_date(headers),
        body=body,
        shown=parsed,
    )


_SUBMISSION_CLASSES = {
    400: SubmissionClass.REFUSED,
    409: SubmissionClass.REFUSED,
    # A browser session that is closed, or has expired.
    410: SubmissionClass.REFUSED,
    413: SubmissionClass.REFUSED,
    # Until a read with the same key says otherwise.
    401: SubmissionClass.ACCOUNT,
    403: SubmissionClass.ACCOUNT,
    402: SubmissionClass.ACCOUNT,
    405: SubmissionClass.ACCOUNT,
    **dict.fromkeys(RATE_LIMITED, SubmissionClass.BUSY),
}


def _refusal(status: int, words: str, parsed: Any) -> SubmissionClass:
    """Class an answer that is not a 2xx. What is not named here may have made a run."""
    if status == 404:
        return _not_found(words, parsed)
    if status == 422:
        # A list that names parts of the request is from before the server began with it. Other
        # words are from a check within, which may come after the run was made.
        is_early = _names_request_parts(parsed) or _is_file_used(status, words)
        return SubmissionClass.REFUSED if is_early else SubmissionClass.UNKNOWN
    if status == 503 and "no run was created" in words.lower():
        return SubmissionClass.BUSY
    if _is_of_request(status, words):
        return SubmissionClass.BUSY
    if 300 <= status < 400:
        return SubmissionClass.ACCOUNT
    return _SUBMISSION_CLASSES.get(status, SubmissionClass.UNKNOWN)


def _not_found(words: str, parsed: Any) -> SubmissionClass:
    """Class a 404: about the path, about what the request names, or about what became of it."""
    if not words:
        # The server's own answer to a row that is missing, whichever and whenever, is an empty 404.
        return SubmissionClass.UNKNOWN
    if is_route_missing(words, parsed):
        return SubmissionClass.ACCOUNT
    return SubmissionClass.UNKNOWN if _NAMES_RUN.search(words) else SubmissionClass.REFUSED


def _names_request_parts(parsed: Any) -> bool:
    """Say whether a body is the list of faults by which FastAPI refuses a request unread."""
    faults = parsed.get("detail") if isinstance(parsed, dict) else None
    if not isinstance(faults, list) or not faults:
        return False
    locations = [fault.get("loc") if isinstance(fault, dict) else None for fault in faults]
    return all(isinstance(at, list) and at and at[0] in _REQUEST_PARTS for at in locations)


def _is_of_request(status: int, words: str) -> bool:
    """Say whether the server cannot take just this request now.

    The model that a task without a URL is turned over to first has failed, or the request's browser
    session is occupied.
    """
    if status in {400, 500} and words.lower().startswith(_GENERATION_FAILED):
        return True
    return status == 400 and says_occupied(words)


def _is_file_used(status: int, words: str) -> bool:
    return status == 422 and words.startswith(_FILES_USED)


#: Where FastAPI's faults of a request are.
_REQUEST_PARTS = ("body", "query", "header", "path", "cookie")
#: What a task without a URL is answered before it is one: with a 400
#: (tests/real/test_submission_answers.py), or a 500 (certified by the server's source alone).
_GENERATION_FAILED = "failed to generate task"
#: What is answered if a file was not uploaded, is deleted, or is another run's (same tests).
_FILES_USED = "These file ids are not available to attach"
#: A 404 that names a run is about one that was made.
_NAMES_RUN = re.compile(
    r"\b(?:wr|tsk|tsk_v2)_\d+|\b(?:task|workflow ?run) not found", re.IGNORECASE
)


def classify_exception(exc: BaseException) -> Submission:
    """Say what an exception from the transport means for a submission. Never raises."""
    sent_nothing = isinstance(exc, NotSentError)
    return Submission(
        SubmissionClass.NOT_SENT if sent_nothing else SubmissionClass.UNKNOWN,
        detail=exception_words(exc),
    )


def exception_words(exc: BaseException) -> str:
    """Return an exception's words, bounded like the server's."""
    return server_words(str(exc).encode(errors="replace"), None) or type(exc).__name__


def classify_run(status: int, body: bytes, headers: Mapping[str, str]) -> RunReading:
    """Say what the answer to a GET of a run means. Never raises; arguments as above."""
    parsed = parse_json(body)
    if 200 <= status < 300 and isinstance(parsed, dict):
        run_status = text_or_none(parsed.get("status"))
        if run_status is not None:
            over = is_over(run_status, parsed.get("retry_pending"))
            return RunReading(
                ReadClass.RUN,
                run_id=text_or_none(parsed.get("run_id")),
                run_status=run_status,
                is_over=over,
                failure_reason=text_or_none(parsed.get("failure_reason")),
                status_code=status,
                server_date=server_date(headers),
                body=body,
                figures=run_figures(parsed) if over else NO_FIGURES,
            )
    words = server_words(body, parsed)
    if 200 <= status < 300:
        words = "the body is not a run"
    return RunReading(
        ReadClass(read_trouble(status, words, parsed)),
        **refused_with(status, words, headers),
        server_date=server_date(headers),
        body=body,
    )


def classify_workflow(status: int, body: bytes) -> WorkflowReading:
    """Say what the answer to a GET of a workflow means. Never raises; arguments as above."""
    parsed = parse_json(body) if 200 <= status < 300 else None
    return WorkflowReading(parsed if isinstance(parsed, dict) else None, status)


def classify_tags(status: int, body: bytes) -> RunTags:
    """Say what the answer to a GET of a run's tags means. Never raises; arguments as above."""
    if status in {403, 404, 405}:
        return RunTags({}, status)
    parsed = parse_json(body) if 200 <= status < 300 else None
    rows = parsed.get("tags") if isinstance(parsed, dict) else None
    if not isinstance(rows, list):
        return RunTags(None, status)
    tags = [(row.get("key"), row.get("value")) for row in rows if isinstance(row, dict)]
    return RunTags(
        {key: value for key, value in tags if isinstance(key, str) and isinstance(value, str)},
        status,
    )


def classify_failed_read(exc: Exception) -> RunReading:
    """Say what an exception from the transport means for a GET of a run. Never raises."""
    if isinstance(exc, BodyTooLargeError):
        return classify_large_run(exc)
    return RunReading(ReadClass.TROUBLE, detail=exception_words(exc))


def classify_large_run(error: BodyTooLargeError) -> RunReading:
    """Say what the answer to a GET of a run means whose body was too large. Never raises.

    A run's answer begins with its id and its status (`tests/real/test_run_ends.py`).
    """
    found = _RUN_BEGINS.match(error.beginning)
    if error.status_code != 200 or found is None:
        return RunReading(ReadClass.TROUBLE, detail=str(error), status_code=error.status_code)
    run_id, run_status = found[1].decode(), found[2].decode()
    return RunReading(
        ReadClass.RUN,
        run_id=run_id,
        run_status=run_status,
        # A pending retry would be reported behind its output, which is missing.
        is_over=is_over(run_status, None),
        status_code=200,
        is_cut=True,
    )


def classify_cancel(status: int, body: bytes, headers: Mapping[str, str]) -> Cancellation:
    """Say what the answer to a cancel means. Never raises; arguments as above."""
    if 200 <= status < 300:
        return Cancellation(CancelClass.DONE, status_code=status)
    parsed = parse_json(body)
    words = server_words(body, parsed)
    trouble = "over" if status == 400 else read_trouble(status, words, parsed)
    return Cancellation(CancelClass(trouble), **refused_with(status, words, headers))
