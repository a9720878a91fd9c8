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

from runqueue.errors import FieldError
from runqueue.request.validation_errors import CONTROL, clean, got

#: Entries; characters of a name, and of a value.
MAX_ENTRIES, MAX_NAME, MAX_VALUE = 20, 64, 256
#: The pattern of a name.
NAME: Final = rf"[A-Za-z0-9_.-]{{1,{MAX_NAME}}}"
_NAME = re.compile(NAME)
METADATA_WORDS = (
    f"an object of at most {MAX_ENTRIES} entries, names of 1 to {MAX_NAME} of A-Z, a-z, 0-9, _, ."
    f" and -, values text of at most {MAX_VALUE} characters without control characters"
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
    return next(filter(None, starmap(_refused_entry, value.items())), "")


def _refused_entry(name: object, text: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return f"the name {got(name)}"
    if not isinstance(text, str):
        return f"{got(text, show=False)} as {name}"
    if len(text) > MAX_VALUE:
        return f"{len(text):,} characters as {name}"
    found = CONTROL.search(text)
    return f"control characters as {name} (U+{ord(found[0]):04X})" if found else ""


def metadata_fault(value: object) -> FieldError:
    """Return the error that refuses metadata."""
    return FieldError("metadata", f"expected {METADATA_WORDS}, got {refused_metadata(value)}")


def entries_of(raw: bytes | None) -> dict[str, str]:
    """Return the entries of a record's metadata; {} = it has none."""
    entries: dict[str, str] = orjson.loads(raw) if raw else {}
    return entries


def read_pairs(pairs: Iterable[str]) -> dict[str, str]:
    """Read entries that are given as `name=value`, as options and query parameters are.

    Raises:
        ValueError: one has no `=`, or a name comes twice.
    """
    entries: dict[str, str] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise ValueError(f"expected name=value, got '{clean(pair)}'")
        if name in entries:
            raise ValueError(f"expected each name once, got '{clean(name)}' twice")
        entries[name] = text
    return entries
