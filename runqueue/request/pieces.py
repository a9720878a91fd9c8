"""A body of very many entries, in pieces: where one is at fault, no other is looked at.

What refuses a body tells of each of its faults, at 20 microseconds and some hundred bytes each.
Few of them are told, so few of them are looked for.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from itertools import islice
from typing import Any, Final

#: Entries of an object that are looked at together: more than faults are told of one line.
MANY: Final = 100
#: Fields that are objects whose entries are each looked at.
_OBJECTS: Final = (
    "cdp_connect_headers",
    "error_code_mapping",
    "extra_http_headers",
    "proxy_location",
)


def has_many(body: Mapping[Any, Any]) -> bool:
    """Say whether a body is to be looked at in pieces."""
    return len(body) > MANY or any(_is_large(body.get(name)) for name in _OBJECTS)


def pieces(body: Mapping[Any, Any], known: Container[Any]) -> Iterator[dict[Any, Any]]:
    """Yield bodies of few entries: a body is sound if each of them is.

    Of the fields that are not known the first ones stand for all: no one of them is treated better.

    Args:
        body: the body.
        known: the names of the fields that it may have.
    """
    large = [name for name in _OBJECTS if name in known and _is_large(body.get(name))]
    rest = {name: value for name, value in body.items() if name in known and name not in large}
    yield rest
    for name in large:
        for part in _parts(body[name]):
            yield {**rest, name: part}
    unknown = ((name, value) for name, value in body.items() if name not in known)
    yield {**rest, **dict(islice(unknown, MANY))}


def _is_large(value: object) -> bool:
    return isinstance(value, dict) and len(value) > MANY


def _parts(whole: Mapping[Any, Any]) -> Iterator[dict[Any, Any]]:
    entries = iter(whole.items())
    while part := dict(islice(entries, MANY)):
        yield part
