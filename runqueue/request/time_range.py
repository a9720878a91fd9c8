"""Times that choose jobs: how a person names one, and which ranges are none."""

import re
from datetime import UTC, date, datetime, time, timedelta

from runqueue.errors import FieldError, InvalidRequest

#: What `read_time` takes, in words.
TIME_WORDS = (
    'a time with its zone such as "2030-01-31T12:00:00Z", a date such as "2030-01-31" or'
    ' "today" (midnight in UTC) or "yesterday", or how long ago such as "12h" or "3d"'
)

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DAYS_AGO = {"today": 0, "yesterday": 1}
_AGO = re.compile(r"([0-9]{1,9})([smhdw])")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def read_time(given: str) -> datetime:
    """Read a time, a date, or how long ago.

    Raises:
        ValueError: it is none of these, or a time without a zone.
    """
    at: datetime | None = None
    try:
        if ago := _AGO.fullmatch(given):
            return datetime.now(UTC) - timedelta(seconds=int(ago[1]) * _SECONDS[ago[2]])
        if given in _DAYS_AGO:
            return datetime.combine(datetime.now(UTC) - timedelta(_DAYS_AGO[given]), time(), UTC)
        if len(given) == len("2030-01-31"):
            return datetime.combine(date.fromisoformat(given), time(), UTC)
        at = datetime.fromisoformat(given)
    except (ValueError, OverflowError):
        pass
    if at is None or at.utcoffset() is None:
        raise ValueError(f"expected {TIME_WORDS}, got {given[:40]!r}")
    return at


def check_range(since: datetime | None, until: datetime | None) -> None:
    """Refuse times without a zone, and a range that nothing is in.

    Raises:
        InvalidRequest: names the argument at fault.
    """
    for name, at in (("since", since), ("until", until)):
        if at is not None and at.utcoffset() is None:
            words = f"expected a time with its zone, got {at.isoformat()}"
            raise InvalidRequest([FieldError(name, words)])
    if since is not None and until is not None and since >= until:
        words = f"expected a time after since ({since.isoformat()}), got {until.isoformat()}"
        raise InvalidRequest([FieldError("until", words)])


def in_microseconds(at: datetime) -> int:
    """Return a time in microseconds since 1970."""
    return (at - _EPOCH) // MICROSECOND


def from_microseconds(us: int) -> datetime:
    """Return microseconds since 1970 as a time in UTC."""
    return _EPOCH + timedelta(microseconds=us)
