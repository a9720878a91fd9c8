"""Say in plain sentences what is wrong with a body, once it has been refused."""

from __future__ import annotations

import difflib
import json
import math
import re
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from runqueue.errors import FieldError

#: Fields whose refused value helps the reader and gives nothing away.
_SHOWN_FIELDS = frozenset(
    {"engine", "max_elapsed_time_minutes", "max_screenshot_scrolls", "max_steps"}
    | {"max_steps_override", "proxy_location", "run_with", "credential_type"}
    | {"max_screenshot_scrolling_times", "download_timeout", "max_steps_per_run"}
)
_URLS = frozenset({"url", "webhook_url", "totp_url"})
#: Control characters, and what is like them: breaks of lines, and signs that turn the direction of
#: text, so that another one is read than is there; but no marks of direction, which scripts need.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_SHOWN_CHARS = 60
#: How a message begins that is about a field which there is not.
UNKNOWN_FIELD = "unknown field"
#: orjson writes at most 254 levels; the body is a few levels down already.
_DEEPEST = 250
_JSON_TYPES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (str, "text"),
    (int, "a whole number"),
    (float, "a number"),
    (Mapping, "an object"),
    ((list, tuple), "an array"),
)


@dataclass(frozen=True, slots=True)
class Expected:
    """Marks a type with the words that an error message uses for it ("expected …")."""

    words: str


def clean(name: object) -> str:
    """Make a name from the input fit to print: short, without control characters."""
    text = str(name)[:_SHOWN_CHARS]
    return text if text.isprintable() else ascii(text)[1:-1]


def got(value: object, *, show: bool = True) -> str:
    """Describe a refused value: its JSON type, and if `show`, a short text or number itself."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if value == "":
        return "empty text"
    name = next((name for type_, name in _JSON_TYPES if isinstance(value, type_)), "")
    # Past 64 bits the digits are no help, and Python refuses to print thousands of them.
    if show and (isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**64)):
        return str(value)
    if show and isinstance(value, str):
        return f"'{clean(value)}'"
    return name or f"a {clean(type(value).__name__)}"


def size_words(size: int) -> str:
    """Return a number of bytes in words: whole MiB or KiB, else the bytes."""
    for unit, name in ((1024 * 1024, "MiB"), (1024, "KiB")):
        if size and size % unit == 0:
            return f"{size // unit:,} {name}"
    return f"{size:,} bytes"


def required(expected: str) -> str:
    """Say of a missing field that it is required, and what is expected there."""
    return f"required, {expected}"


def body_errors(
    model: type[BaseModel],
    models: Mapping[Any, type[BaseModel]],
    beside: frozenset[str],
    body: Mapping[str, Any],
    refusal: ValidationError,
) -> list[FieldError]:
    """Translate pydantic's refusal of a body.

    Args:
        model: what the body was taken for.
        models: the models of all kinds, to recognise the fields of another.
        beside: names that belong beside the body.
        body: the refused body.
        refusal: pydantic's report.
    """
    found: dict[str, str] = {}
    for error in refusal.errors(include_url=False, include_input=False):
        loc, type_ = error["loc"], error["type"]
        if not loc:
            if type_ == "value_error":  # our check across fields
                expected = "expected exactly one of workflow_id and agent_id"
                names_both = body.get("workflow_id") is not None
                message = f"{expected}, got both" if names_both else required(expected)
                found["body.workflow_id"] = message
            else:  # a key with half of a surrogate pair, which pydantic cannot name
                found["body"] = "expected text as the names of all fields"
            continue
        path, value = _follow(body, loc)
        name = str(loc[0])
        if type_ == "extra_forbidden" and len(loc) == 1:
            message = _unknown(name, model, models, beside, guess=len(found) < MOST_GUESSED)
        elif name not in model.model_fields:
            message = "expected text as the name of a field"
        else:
            inside = loc[-1] if path != f"body.{clean(name)}" else None
            expected = f"expected {_expected(model, name, inside)}"
            is_there = name in body
            message = f"{expected}, got {_got(name, value)}" if is_there else required(expected)
        found.setdefault(path, message)
    return [FieldError(path, message) for path, message in found.items()]


def holds_nan(value: object) -> bool:
    """Return whether NaN or Infinity is in a JSON value; quick, as valid bodies pass here too."""
    if isinstance(value, dict):
        return any(map(holds_nan, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(holds_nan, value))
    return isinstance(value, float) and not math.isfinite(value)


def json_errors(value: object, path: str, depth: int = 0) -> Iterator[FieldError]:
    """Find what JSON cannot carry in a value: NaN, lone surrogates, integers over 64 bits, …"""
    if depth > _DEEPEST:
        yield FieldError(path[:_SHOWN_CHARS], f"nested more than {_DEEPEST} levels deep")
    elif isinstance(value, dict):
        for key, item in value.items():
            below = f"{path}.{clean(key)}"
            if not isinstance(key, str) or not _is_unicode(key):
                yield FieldError(below, "expected text as a key")
            yield from json_errors(item, below, depth + 1)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from json_errors(item, f"{path}.{index}", depth + 1)
    elif fault := _scalar_fault(value):
        yield FieldError(path, fault)


def _scalar_fault(value: object) -> str:
    fault = ""
    if isinstance(value, str):
        if not _is_unicode(value):
            fault = "expected text, got half of a surrogate pair"
    elif isinstance(value, float):
        if not math.isfinite(value):
            fault = f"expected a finite number, got {value}"
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            fault = "expected a whole number of at most 64 bits"
    elif value is not None:
        fault = f"expected a JSON value, got {got(value, show=False)}"
    return fault


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _follow(body: Mapping[str, Any], loc: tuple[int | str, ...]) -> tuple[str, Any]:
    """Walk the body along pydantic's location, past which it only names the branches it tried."""
    path = "body"
    value: Any = body
    for step in loc:
        if isinstance(value, Mapping) and (step in value or len(path) == len("body")):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            break
        path += f".{clean(step)}"
    return path, value


def _unknown(
    name: str,
    model: type[BaseModel],
    models: Mapping[Any, type[BaseModel]],
    beside: frozenset[str],
    *,
    guess: bool,
) -> str:
    if others := [kind for kind, other in models.items() if name in other.model_fields]:
        kinds = " or ".join(f"{kind!r}" for kind in others)
        return f"{UNKNOWN_FIELD}, {name!r} belongs to kind {kinds}"
    if name in beside:
        return f"{UNKNOWN_FIELD}, {name!r} belongs beside the body"
    return f"{UNKNOWN_FIELD}{did_you_mean(name, model.model_fields) if guess else ''}"


def _expected(model: type[BaseModel], name: str, inside: int | str | None) -> str:
    """Find the words for a field, or for what is `inside` an object that it holds."""
    field = model.model_fields[name]
    marks = [mark for mark in field.metadata if isinstance(mark, Expected)]
    words = marks[0].words if marks else _expected_of(field.annotation)
    entry = () if inside is None else _entry_types(field.annotation)
    if entry:
        words = _expected_of(entry[0] if inside == "[key]" else entry[1])
    return words or "another value"


def _entry_types(annotation: object) -> tuple[Any, ...]:
    """Find the key and value types of the dict in a type; empty without one."""
    if get_origin(annotation) is dict:
        return get_args(annotation)
    return next(filter(None, map(_entry_types, get_args(annotation))), ())


def _expected_of(annotation: object) -> str:
    """Find the outermost `Expected` mark in a type."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        for mark in args[1:]:
            if isinstance(mark, Expected):
                return mark.words
        return _expected_of(args[0])
    if origin in (Union, types.UnionType):
        return next(filter(None, map(_expected_of, args)), "")
    return ""


def _got(name: str, value: object) -> str:
    if name in _URLS and isinstance(value, str) and value:
        return _wrong_url(value)
    return got(value, show=name in _SHOWN_FIELDS)


def _wrong_url(text: str) -> str:
    """Say what a URL lacks; it is not shown, as it may hold a password."""
    if not text.lower().startswith(("http://", "https://")):
        return "text that does not begin with either"
    return "one with a space" if re.search(r"\s", text) else "one with a wrong host or port"


# Guess which name was meant by a mistyped one.

#: difflib takes time in the square of a name's length; no name of ours is near this long.
_LONGEST_NAME = 64
#: Unknown names of one line that a guess is made for, as many as are reported: each takes a fifth
#: of a millisecond.
MOST_GUESSED = 20


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ", did you mean 'max_steps'?", or nothing if no known name comes close."""
    if len(name) > _LONGEST_NAME:
        return ""
    lower = {one.lower(): one for one in sorted(known)}
    close = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.7)
    return f", did you mean {lower[close[0]]!r}?" if close else ""
