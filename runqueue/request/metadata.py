"""Metadata: names and short texts that a caller gives a job or a batch, for people and for filters.

A job's is an option (`job_options.py`), a batch's stands beside its name. Either is stored as one
JSON object.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import starmap
from typing import Final

import orjson

from runqueue.errors import FieldError, InvalidBatch
from runqueue.request.validation_errors import CONTROL, clean, got

#: Entries; characters of a name, and of a value; bytes of all as JSON, which no quota counts.
MAX_ENTRIES, MAX_NAME, MAX_VALUE, MAX_BYTES = 20, 64, 256, 4096
#: The pattern of a name.
NAME: Final = rf"[A-Za-z0-9_.-]{{1,{MAX_NAME}}}"
_NAME = re.compile(NAME)
METADATA_WORDS = (
    f"an object of at most {MAX_ENTRIES} entries, names of 1 to {MAX_NAME} of A-Z, a-z, 0-9, _, ."
    f" and -, values text of at most {MAX_VALUE} characters without control characters,"
    f" {MAX_BYTES:,} bytes in all"
)


def read_metadata(value: object) -> str | None:
    """Return metadata as JSON, '' if it has no entry; None if it is not valid."""
    if not isinstance(value, Mapping) or refused_metadata(value):
        return None
    # The plain texts of a caller's enums.
    entries = {str.__str__(name): str.__str__(text) for name, text in value.items()}
    return orjson.dumps(entries).decode() if entries else ""


def refused_metadata(value: object) -> str:
    """Return what of metadata is not valid, in words; '' = nothing."""
    if not isinstance(value, Mapping):
        return got(value)
    if len(value) > MAX_ENTRIES:
        return f"{len(value):,} entries"
    if refused := next(filter(None, starmap(_refused_entry, value.items())), ""):
        return refused
    size = sum(len(name) + len(text.encode(errors="replace")) + 6 for name, text in value.items())
    return f"{size:,} bytes" if size > MAX_BYTES else ""


def _refused_entry(name: object, text: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return f"the name {got(name)}"
    if not isinstance(text, str):
        return f"{got(text, show=False)} as {name}"
    if len(text) > MAX_VALUE:
        return f"{len(text):,} characters as {name}"
    found = CONTROL.search(text)
    return f"control characters as {name} (U+{ord(found[0]):04X})" if found else ""


def entries_of(raw: bytes | None) -> dict[str, str]:
    """Return the entries of a record's metadata; {} = it has none."""
    entries: dict[str, str] = orjson.loads(raw) if raw else {}
    return entries


def stored_metadata(metadata: Mapping[str, str] | None) -> str:
    """Return a batch's metadata as its record has it; '' = none.

    Raises:
        InvalidBatch: it is not valid.
    """
    found = "" if metadata is None else read_metadata(metadata)
    if found is None:
        raise _refusal(f"{METADATA_WORDS}, got {refused_metadata(metadata)}")
    return found


def read_pairs(pairs: Iterable[str]) -> dict[str, str]:
    """Read a batch's metadata from `name=value`, as options and query parameters give it.

    Raises:
        InvalidBatch: one has no `=`, a name comes twice, or it is not valid.
    """
    entries: dict[str, str] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise _refusal(f"name=value, got '{clean(pair)}'")
        if name in entries:
            raise _refusal(f"each name once, got '{clean(name)}' twice")
        entries[name] = text
    stored_metadata(entries)
    return entries


def _refusal(expected: str) -> InvalidBatch:
    return InvalidBatch([FieldError("metadata", f"expected {expected}")])
