"""What of an answer is compared, and where two servers' answers differ."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

#: Values that no two servers share: told by their kind alone.
_OPAQUE = frozenset({
    "failure_reason", "errors", "recording_url", "recording_urls", "screenshot_url",
    "screenshot_urls", "action_screenshot_urls", "latency_ms", "step_count", "total_steps",
    "failure_category", "webhook_failure_reason", "browser_console_log_url", "created_by",
    "x-skyvern-signature", "x-skyvern-timestamp", "content-length", "host", "date", "user-agent",
    "download_path", "stream_transport", "file_size", "signed_url", "uri",
})  # fmt: skip

_ID = re.compile(r"\b(tsk_v2|[a-z]{1,7})_\d{5,}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(Z|[+-]\d\d:\d\d)?")
_APP = re.compile(r"https?://[^/]+/(?=(?:runs|tasks|browser-session)/)")


@dataclass(frozen=True)
class Difference:
    """One value of one behaviour that the two servers do not share.

    Args:
        behaviour: its name.
        path: where in the answer, such as `body.run_request.url`.
        real: what the real server shows.
        simulated: what the simulator shows.
    """

    behaviour: str
    path: str
    real: object
    simulated: object

    def __str__(self) -> str:
        return f"{self.behaviour} > {self.path}: real {self.real!r}, simulated {self.simulated!r}"


@dataclass(frozen=True)
class Accepted:
    """A difference that stays, with its reason.

    Args:
        pattern: `behaviour > path`, with `*` and `?`.
        reason: why it stays.
    """

    pattern: str
    reason: str

    def covers(self, difference: Difference) -> bool:
        """Whether this is one of its differences."""
        return fnmatchcase(f"{difference.behaviour} > {difference.path}", self.pattern)


class _Missing:
    def __repr__(self) -> str:
        return "nothing"


_MISSING = _Missing()


def normalised(value: Any, known: Mapping[str, str]) -> Any:
    """A value without what differs by nature: ids, times, addresses, and what is opaque.

    Args:
        value: parsed JSON.
        known: texts and what stands in their place, such as a server's address.
    """
    if isinstance(value, dict):
        return {
            name: _kind(item) if _is_opaque(name, value) else normalised(_first(name, item), known)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [normalised(item, known) for item in value]
    if isinstance(value, str):
        return _text(value, known)
    # 2 and 2.0 are two values in JSON, and one in Python.
    return f"<float {value}>" if isinstance(value, float) else value


def differences(
    real: Mapping[str, Any], simulated: Mapping[str, Any], accepted: tuple[str, ...] = ()
) -> list[Difference]:
    """Where two servers' behaviours differ, by name and path."""
    return [
        Difference(name, path, one, other)
        for name in dict.fromkeys([*real, *simulated])
        for path, one, other in _unequal(
            real.get(name, _MISSING), simulated.get(name, _MISSING), "answer"
        )
    ]


def _is_opaque(name: str, parent: Mapping[str, Any]) -> bool:
    """Whether a value is told by its kind; what a validator of the server says is its own prose."""
    return name in _OPAQUE or (name == "msg" and parent.get("type") == "value_error")


def _first(name: str, value: Any) -> Any:
    """Of a refusal in words the first sentence, which says what is wrong; the rest is advice."""
    if name == "detail" and isinstance(value, str):
        return re.split(r"\. |; | — ", value)[0].rstrip(".")
    return value


def _kind(value: object) -> str:
    return "<null>" if value is None else f"<{type(value).__name__}>"


def _text(text: str, known: Mapping[str, str]) -> str:
    for found, name in known.items():
        text = text.replace(found, name)
    text = _APP.sub("<app>/", text)
    text = _ID.sub(r"<\1>", text)
    return _TIME.sub(lambda match: f"<time{match[1] or ''}>", text)


def _unequal(one: Any, other: Any, path: str) -> Iterator[tuple[str, object, object]]:
    if isinstance(one, dict) and isinstance(other, dict):
        for name in dict.fromkeys([*one, *other]):
            inner = f"{path}.{name}"
            yield from _unequal(one.get(name, _MISSING), other.get(name, _MISSING), inner)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for place, (first, second) in enumerate(zip(one, other, strict=True)):
            yield from _unequal(first, second, f"{path}[{place}]")
    elif one is not other and (type(one) is not type(other) or one != other):
        yield path, one, other
