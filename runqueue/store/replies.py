"""What calls of scripts have in common: how lists of arguments are made, and how replies read."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Any, TypeVar, get_type_hints

from runqueue.records.claim_items import ClaimAnswer, Item, Taken
from runqueue.store.scripts import Argument, ScriptCall, load

T = TypeVar("T")
Record = TypeVar("Record", bound=tuple[Any, ...])

#: Makes the call of a script for an account and some items.
OfItems = Callable[[str, Sequence[Item]], ScriptCall[T]]


def flat(items: Iterable[Iterable[Argument]]) -> list[Argument]:
    """Return the fields of all items, one after the other."""
    return list(chain.from_iterable(items))


def as_arguments(item: Iterable[Argument | None]) -> list[Argument]:
    """Return an item as scripts take it: a flag as 1 or 0, and '' for what is not known."""
    return ["" if one is None else int(one) if isinstance(one, bool) else one for one in item]


def of_ids(script: str, parse: Callable[[Any], T]) -> OfItems[str, T]:
    """Return what makes the call of a script that takes ids.

    Args:
        script: its name.
        parse: reads its reply.
    """

    def call(account: str, ids: Sequence[str]) -> ScriptCall[T]:
        return ScriptCall(load(script), account, list(ids), parse)

    return call


def of_items(
    script: str, parse: Callable[[Any], T], fields: Callable[[Item], Iterable[Any]] | None = None
) -> OfItems[Item, T]:
    """Return what makes the call of a script that takes items.

    Args:
        script: its name.
        parse: reads its reply.
        fields: what it takes of an item; None = the item is a tuple of just that.
    """

    def call(account: str, items: Sequence[Item]) -> ScriptCall[T]:
        rows_of: Any = items if fields is None else map(fields, items)
        return ScriptCall(load(script), account, flat(rows_of), parse)

    return call


def codes(reply: Any) -> list[int]:
    """Read one code for each item."""
    return list(reply)


def texts(reply: Iterable[bytes]) -> list[str]:
    """Read ids or names."""
    return [raw.decode() for raw in reply]


def page(reply: Sequence[bytes]) -> tuple[str, list[str]]:
    """Read a page: the next cursor, and ids or names."""
    return reply[0].decode(), texts(reply[1:])


def permit(reply: Sequence[Any]) -> tuple[int, float]:
    """Read how many permits were granted (-1 = no further ones), and seconds until the next try."""
    now_us, granted, next_us = map(int, reply)
    return granted, max(0.0, (next_us - now_us) / 1e6)


def rows(reply: Sequence[Any], first: int, width: int) -> Iterator[Sequence[Any]]:
    """Yield the rows of a reply.

    Args:
        reply: the reply.
        first: where the first of them begins.
        width: fields of each.
    """
    return (reply[start : start + width] for start in range(first, len(reply), width))


def records(kind: type[Record], rows: Iterable[Sequence[Any]]) -> list[Record]:
    """Read rows as named tuples, each field by its type; an empty number is the field's default.

    Args:
        kind: the named tuple, its fields in the order of the reply.
        rows: the rows.
    """
    columns = list(zip(*rows, strict=True))
    if not columns:
        return []
    # Column by column: half the time of row by row, 1 % of a job's.
    read: Any = [map(reader, of) for reader, of in zip(_readers(kind), columns, strict=True)]
    return list(map(kind._make, zip(*read, strict=True)))  # type: ignore[attr-defined]


@cache
def _readers(kind: Any) -> tuple[Callable[[Any], Any], ...]:
    defaults = kind._field_defaults
    return tuple(
        _reader(hint, name in defaults, defaults.get(name))
        for name, hint in get_type_hints(kind).items()
    )


def _reader(hint: Any, is_optional: bool, default: int | None) -> Callable[[Any], Any]:
    if hint is int and not is_optional:
        return int
    return _READERS.get(hint) or (lambda raw: int(raw) if raw else default)


_READERS: dict[Any, Callable[[Any], Any]] = {
    str: bytes.decode,
    bytes: bytes,
    bool: lambda raw: raw == b"1",
}


def optional_int(raw: bytes) -> int | None:
    """Read a number; '' = None."""
    return int(raw) if raw else None


def taken(reply: Sequence[Any], items: Iterable[Item]) -> Taken[Item]:
    """Read the reply of a claiming script: answer, clock, next claim, whether the consumer left.

    Args:
        reply: the reply; one that is refused is shorter.
        items: what was claimed; not read of a reply that is refused.
    """
    answer = ClaimAnswer(reply[0].decode())
    if answer is not ClaimAnswer.OK:
        return Taken(answer, int(reply[1]))
    return Taken(answer, int(reply[1]), int(reply[2]), bool(reply[3]), 0, list(items))
