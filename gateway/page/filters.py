"""Which jobs a page is of: a filter as its address has it, which is also the saved search."""

from datetime import datetime
from typing import Final
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException

from runqueue.producer.listing import Filter
from runqueue.request.time_range import read_time

#: The fields of a filter that are texts.
_TEXTS: Final = ("state", "group", "batch", "reason", "text", "workflow", "error")


def time_of(query: QueryParams, name: str) -> datetime | None:
    """Return a time that a query names; None = it names none.

    Raises:
        HTTPException: it is none.
    """
    given = query.get(name, "").strip()
    try:
        return read_time(given) if given else None
    except ValueError as error:
        raise HTTPException(422, f"{name}: {error}") from None


def filter_of(query: QueryParams) -> Filter:
    """Return the filter of a query.

    Raises:
        HTTPException: a time, or an entry of metadata, that is none.
        InvalidRequest: another field that is none.
    """
    texts = {name: query.get(name, "").strip() or None for name in _TEXTS}
    entries = [given.strip() for given in query.getlist("metadata") if given.strip()]
    if wrong := next((given for given in entries if "=" not in given), None):
        raise HTTPException(422, f"metadata: expected name=value, got {wrong[:40]!r}")
    return Filter(
        **texts,  # type: ignore[arg-type]
        metadata=dict(given.split("=", 1) for given in entries),
        since=time_of(query, "since"),
        until=time_of(query, "until"),
        is_paused=query.get("is_paused") == "true",
    ).checked()


def pairs_of(wanted: Filter) -> list[tuple[str, str]]:
    """Return the parameters of a query that has this filter; times stay where they are."""
    pairs = [(name, str(text)) for name in _TEXTS if (text := getattr(wanted, name)) is not None]
    pairs += [("metadata", f"{name}={text}") for name, text in dict(wanted.metadata).items()]
    times = (("since", wanted.since), ("until", wanted.until))
    pairs += [(name, at.isoformat()) for name, at in times if at is not None]
    return [*pairs, ("is_paused", "true")] if wanted.is_paused else pairs


def query_of(wanted: Filter) -> str:
    """Return `pairs_of` as a part of an address."""
    return urlencode(pairs_of(wanted))
