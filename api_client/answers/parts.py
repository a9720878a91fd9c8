"""Reading the parts of an answer: its words, its dates, the figures of a run. Pure functions.

None of them raises: an answer in an unknown shape is data, not a reason to crash.
"""

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson

from api_client.errors import RATE_LIMITED

#: Characters of the server's words that are kept.
MAX_WORDS = 500

#: `timestamp` takes five times as long as a difference (with ends' three times, 4 µs a job).
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - UTC, for those that name no zone
_EPOCH_UTC: Final = datetime(1970, 1, 1, tzinfo=UTC)

#: Seconds. A longer Retry-After is cut to this: no header stops an account for a day.
MAX_RETRY_AFTER = 3600.0

_SECONDS = re.compile(r"[+-]?\d{1,12}(\.\d{1,6})?", re.ASCII)
_RATE = re.compile(r"(\d{1,9}) requests? per (?:(\d{1,9}) )?seconds?", re.ASCII | re.IGNORECASE)
_UNPRINTABLE = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")


def parse_json(body: bytes) -> Any:
    """Parse a body as JSON; None when it is none."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def is_json(body: bytes) -> bool:
    """Say whether a body is a JSON object or array, as all of the API's are."""
    return isinstance(parse_json(body), dict | list)


def text_or_none(value: object) -> str | None:
    """Return a string that says something, else None."""
    return value if isinstance(value, str) and value.strip() else None


def server_words(body: bytes, parsed: Any) -> str:
    """Return what the server says went wrong, in one line of at most `MAX_WORDS` characters.

    Known shapes are `{"detail": "text"}`, `{"detail": [{loc, msg, input}]}`, `{"error": "text"}`,
    plain text and nothing. Of other JSON nothing is quoted, nor is `input` (it echoes what was
    sent: parameters, one-time codes).

    Args:
        body: the body as it came.
        parsed: what `parse_json` made of it.
    """
    words = _json_words(parsed) if parsed is not None else body[:4096].decode(errors="replace")
    return _UNPRINTABLE.sub(" ", words).strip()[:MAX_WORDS]


def _json_words(parsed: Any) -> str:
    if isinstance(parsed, str):
        return parsed
    if not isinstance(parsed, dict):
        return ""
    for name in ("detail", "error", "message"):
        value = parsed.get(name)
        if isinstance(value, list):
            return "; ".join(filter(None, map(_field_words, value[:20])))
        if isinstance(value, dict):  # {"detail": {"message": ...}}
            value = value.get("message")
        if text := text_or_none(value):
            return text
    return ""


def _field_words(item: Any) -> str:
    """`{"loc": ["body", "prompt"], "msg": "Field required"}` → `body.prompt: Field required`."""
    if not isinstance(item, dict):
        return ""
    message = text_or_none(item.get("msg")) or ""
    loc = item.get("loc")
    if not isinstance(loc, list):
        return message
    parts = [str(part) for part in loc if isinstance(part, str | int)]
    return f"{'.'.join(parts)}: {message}"


def named_rate(words: str) -> float | None:
    """Return the rate that a 429's words name, in requests a second; None when they name none.

    "Maximum 10 requests per 60 seconds" is a sixth.
    """
    found = _RATE.search(words)
    if found is None:
        return None
    count, seconds = int(found[1]), int(found[2] or 1)
    return count / seconds if count and seconds else None


def is_route_missing(words: str, parsed: Any) -> bool:
    """Say whether a 404 is about the path itself (no such route), not about what a request names.

    A route that does not exist answers `{"detail": "Not Found"}`, or a page that is not JSON.

    Args:
        words: what `server_words` made of the body.
        parsed: what `parse_json` made of it.
    """
    return not isinstance(parsed, dict) or not words or words.lower() == "not found"


def read_trouble(status: int, words: str, parsed: Any) -> str:
    """Class an answer to a read or a cancel that is no success, in words all their classes know.

    Args:
        status: the answer's.
        words, parsed: as in `is_route_missing`.
    """
    if status == 404 and not is_route_missing(words, parsed):
        return "not_found"
    if status in RATE_LIMITED:
        return "busy"
    if 300 <= status < 400 or status in {401, 402, 403, 404, 405}:
        return "account"
    return "trouble"


def refused_with(status: int, words: str, headers: Mapping[str, str]) -> dict[str, Any]:
    """Return what every outcome keeps of an answer that is no success.

    Args:
        status: the answer's.
        words: what `server_words` made of its body.
        headers: as in `retry_after`.

    Returns:
        `detail`, `status_code` and `retry_after` of the outcome.
    """
    return {
        "detail": words or f"HTTP {status}",
        "status_code": status,
        "retry_after": retry_after(headers),
    }


def retry_after(
    headers: Mapping[str, str], now: float | None = None, most: float = MAX_RETRY_AFTER
) -> float | None:
    """Return how long the server wants no request: seconds from 0 to `most`, or None.

    A number of seconds and an HTTP date are read; a date is counted from the answer's own `Date`,
    so that a wrong clock here makes no difference. Anything else is None.

    Args:
        headers: the answer's headers (names in lower case, or a mapping that ignores case).
        now: unix seconds, for an answer without a `Date`; the local clock when None.
        most: seconds to which a longer wait is cut.
    """
    value = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(value):
        seconds = float(value)
    else:
        due = http_date(value)
        if due is None:
            return None
        start = server_date(headers)
        if start is None:
            start = time.time() if now is None else now
        seconds = due - start
    return min(max(seconds, 0.0), most)


def server_date(headers: Mapping[str, str]) -> float | None:
    """Return the server's clock, unix seconds, from the `Date` header; None when it has none."""
    value = headers.get("date")
    return http_date(value) if value else None


def stored_seconds(headers: Mapping[str, str]) -> float:
    """Return for how long a cache had stored the answer, by `Age`; 0 = it had not."""
    value = headers.get("age", "").strip()
    return max(0.0, float(value)) if _SECONDS.fullmatch(value) else 0.0


@lru_cache(maxsize=64)  # a server sends the same text for a whole second
def http_date(value: str) -> float | None:
    """Return an HTTP date as unix seconds; None when it is none."""
    try:
        moment = parsedate_to_datetime(value)
        # HTTP dates are UTC; one that does not say so would be read as local time.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, IndexError):
        return None


def unix_time(value: object) -> float | None:
    """Read a timestamp, which is UTC where it names no zone; None if it is none."""
    moment = _since_epoch(value)
    return None if moment is None else moment.total_seconds()


def _since_epoch(value: object) -> timedelta | None:
    try:
        moment = datetime.fromisoformat(value)  # type: ignore[arg-type]
        return moment - (_EPOCH_UTC if moment.tzinfo else _EPOCH)
    except (TypeError, ValueError, OverflowError):
        return None


class RunFigures(NamedTuple):
    """What a run that is over took, and why it failed; each None where the answer does not say.

    Attributes:
        queued: seconds from its acceptance until it started.
        ran: seconds from its start to its end.
        steps: steps that it took.
        credits, cached_credits: what it was billed; the webhooks of workflow runs and their list
            say it. A self-hosted server says 0.
        category: the surest of the categories of its failure.
        workflow_run_id: the workflow run that it is, or has beneath it (engine 2.0).
    """

    queued: float | None = None
    ran: float | None = None
    steps: int | None = None
    credits: int | None = None
    cached_credits: int | None = None
    category: str | None = None
    workflow_run_id: str | None = None


#: Of an answer that reports nothing.
NO_FIGURES = RunFigures()
_CATEGORY = re.compile(r"[A-Z][A-Z0-9_]{0,39}")
_WORKFLOW_RUN_ID = re.compile(r"(?:.*/)?(wr_[A-Za-z0-9_-]{1,120})", re.DOTALL)
#: Above all that a run takes: more is not believed.
_MOST_STEPS, _MOST_CREDITS = 1_000_000, 10**9


def run_figures(run: Mapping[str, Any]) -> RunFigures:
    """Read the figures of a run from its body. Never raises.

    Args:
        run: the answer of a GET, a webhook, or an item of the list of workflow runs.
    """
    started = _since_epoch(run.get("started_at"))
    queued = _since_epoch(run.get("queued_at")) or _since_epoch(run.get("created_at"))
    return RunFigures(
        None if started is None else _between(queued, started),
        _between(started, _since_epoch(run.get("finished_at"))),
        _count(run.get("step_count"), _MOST_STEPS),
        credits_of(run.get("credits_used")),
        credits_of(run.get("cached_credits_used")),
        failure_category(run.get("failure_category")),
        _workflow_run_id(run),
    )


def credits_of(value: object) -> int | None:
    """Return a number of credits; None = it is none."""
    return _count(value, _MOST_CREDITS)


def failure_category(shown: object) -> str | None:
    """Return the first of a run's failure categories, which is the surest; None = there is none."""
    first = shown[0] if isinstance(shown, list) and shown else None
    category = first.get("category") if isinstance(first, dict) else None
    is_one = isinstance(category, str) and _CATEGORY.fullmatch(category)
    return category if is_one else None


def _workflow_run_id(run: Mapping[str, Any]) -> str | None:
    for name in ("run_id", "workflow_run_id", "app_url"):
        value = run.get(name)
        found = _WORKFLOW_RUN_ID.fullmatch(value[:1000]) if isinstance(value, str) else None
        if found:
            return found[1]
    return None


def ended_ago(run: Mapping[str, Any], now: float | None) -> float | None:
    """Return how many seconds ago a run ended, by the server's clock; None = it is not reported.

    Args:
        run, now: as in `attempt_age`.
    """
    finished = unix_time(run.get("finished_at"))
    return None if finished is None or now is None else now - finished


def attempt_age(run: Mapping[str, Any], now: float | None) -> float | None:
    """Return for how many seconds a run's current attempt has been going on.

    A workflow with a `retry_policy` makes further attempts within one run: `started_at` is then
    that of the current one, null until it has begun, and `next_attempt_at` when the next is due.
    So it is counted from the latest of these, also of those in `attempts`
    (`tests/real/test_run_ends.py`); a negative age is an attempt that is still to come.

    Args:
        run: the answer of a GET.
        now: the server's clock, unix seconds.

    Returns:
        None: no attempt has begun, or the answer does not say.
    """
    if now is None:
        return None
    attempts = run.get("attempts")
    shown = [run, *(attempts if isinstance(attempts, list) else ())]
    begun = [
        moment
        for one in shown
        if isinstance(one, Mapping)
        for moment in (unix_time(one.get("started_at")), unix_time(one.get("next_attempt_at")))
        if moment is not None
    ]
    return now - max(begun) if begun else None


def _between(start: timedelta | None, end: timedelta | None) -> float | None:
    if start is None or end is None or end < start:
        return None
    return (end - start).total_seconds()


def _count(value: object, most: int) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < most
    return int(value) if is_count else None  # type: ignore[call-overload]
