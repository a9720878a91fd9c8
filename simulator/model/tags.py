"""Tags of workflow runs, and the terms of `?tags=`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from pydantic import BaseModel, field_validator

from simulator.replies import Json, RefusedError

_MOST_TERMS = 20
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_LONGEST_VALUE = 256

#: The tag that the server itself adds to every run of its API.
_OWN = {"skyvern.trigger": "api"}


class TagFields(BaseModel):
    """One tag: a value, and mostly a key."""

    key: str | None = None
    value: str

    @field_validator("key")
    @classmethod
    def _writable(cls, key: str | None) -> str | None:
        key = key and key.strip()
        if not key:
            return None
        if not _KEY.fullmatch(key) or key.startswith("skyvern."):
            raise ValueError("letters, digits, underscores, dots and hyphens, not skyvern. first")
        return key

    @field_validator("value")
    @classmethod
    def _plain(cls, value: str) -> str:
        value = value.strip()
        if not value or len(value) > _LONGEST_VALUE or "," in value:
            raise ValueError(f"1 to {_LONGEST_VALUE} characters, without a comma")
        return value


class TagsFields(BaseModel):
    """The body of `POST /v1/runs/{run_id}/tags`."""

    tags: list[TagFields]


@dataclass(slots=True)
class Tags:
    """The tags of one run.

    Args:
        by_key: those with a key.
        labels: those without.
    """

    by_key: dict[str, str] = field(default_factory=dict)
    labels: set[str] = field(default_factory=set)

    def set(self, tags: Iterable[TagFields]) -> None:
        """Add tags; one with a key replaces the one of that key."""
        for tag in tags:
            if tag.key is None:
                self.labels.add(tag.value)
            else:
                self.by_key[tag.key] = tag.value

    def shown(self, stamp: str) -> list[Json]:
        """Every tag with its source, the server's own among them."""
        rows: list[tuple[str | None, str, str]] = [
            *((key, value, "system") for key, value in _OWN.items()),
            *((key, value, "manual") for key, value in self.by_key.items()),
            *((None, value, "manual") for value in sorted(self.labels)),
        ]
        return [
            {"key": key, "value": value, "source": source, "set_at": stamp, "set_by": "o_1"}
            for key, value, source in rows
        ]

    def fit(self, terms: Terms) -> bool:
        """Whether these tags have one of each group's values, and all labels."""
        own = self.by_key | _OWN
        labels = self.labels | set(own.values())
        return terms.labels <= labels and all(
            key in own and (None in values or own[key] in values)
            for key, values in terms.groups.items()
        )


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of `?tags=`: all of the groups (one of its values each), and all of the labels.

    Args:
        groups: values by key; None among them means any.
        labels: values of any key.
    """

    groups: dict[str, set[str | None]] = field(default_factory=dict)
    labels: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.groups or self.labels)


def terms_of(given: list[str]) -> Terms:
    """Read the values of `?tags=`, each of which may hold several, parted by commas.

    Raises:
        RefusedError: 400, one of them is no term, or there are too many.
    """
    if given in ([], [""]):
        return Terms()
    groups: dict[str, set[str | None]] = {}
    labels = set()
    texts = [text.strip() for part in given for text in part.split(",")]
    if not all(texts):
        raise RefusedError(400, "Invalid tag filter; empty term.")
    for text in texts:
        key, colon, value = (part.strip() for part in text.partition(":"))
        if not colon:
            labels.add(text)
        elif key and value:
            groups.setdefault(key, set()).add(None if value == "*" else value)
        else:
            forms = "expected 'label', 'key:*', or 'key:value'"
            raise RefusedError(400, f"Invalid tag filter '{text}'; {forms}.")
    if len(labels) + sum(map(len, groups.values())) > _MOST_TERMS:
        raise RefusedError(400, f"Too many tag filter terms; at most {_MOST_TERMS}.")
    return Terms(groups, frozenset(labels))
