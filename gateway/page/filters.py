"""Which jobs a page is of: a filter as its address has it, which is also the saved search."""

from typing import Any, Final

from starlette.datastructures import QueryParams

from gateway.page.forms import time
from runqueue.producer.listing import Filter, read_entries

#: The fields of a filter that are texts.
_TEXTS: Final = ("state", "group", "batch", "reason", "text", "workflow", "error")


def filter_of(query: QueryParams) -> Filter:
    """Return the filter of a query.

    Raises:
        InvalidRequest: a field that is none.
    """
    texts: dict[str, Any] = {name: query.get(name, "").strip() or None for name in _TEXTS}
    entries = [given.strip() for given in query.getlist("metadata") if given.strip()]
    times: dict[str, Any] = {}
    for name in ("since", "until"):
        if given := query.get(name, "").strip():
            times[name] = time(given, name)
    return Filter(
        **texts,
        metadata=read_entries(entries),
        **times,
        is_open=query.get("is_open") == "true",
        is_paused=query.get("is_paused") == "true",
    ).checked()


def pairs_of(wanted: Filter) -> list[tuple[str, str]]:
    """Return the parameters of a query that has this filter; times stay where they are."""
    pairs = [(name, str(text)) for name in _TEXTS if (text := getattr(wanted, name)) is not None]
    pairs += [("metadata", f"{name}={text}") for name, text in dict(wanted.metadata).items()]
    times = (("since", wanted.since), ("until", wanted.until))
    pairs += [(name, at.isoformat()) for name, at in times if at is not None]
    return pairs + [(name, "true") for name in ("is_open", "is_paused") if getattr(wanted, name)]
