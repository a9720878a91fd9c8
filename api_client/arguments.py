"""Turning arguments into the parts of a request: JSON body, query, headers, path. Pure functions.

An argument left out (`OMIT`) is left out of the JSON; an explicit None is sent as null: to Skyvern
the two are not the same.
"""

import json
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, TypedDict, TypeGuard
from urllib.parse import quote, urlencode

import orjson
from pydantic_core import PydanticSerializationError, to_jsonable_python


class Omit(Enum):
    """The type of `OMIT`."""

    OMIT = "omit"

    def __repr__(self) -> str:
        return "OMIT"


#: The SDK's encoder, which writes floats as Python does.
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_FLAT = frozenset({str, int, bool, type(None)})

#: "Not given", where None means null.
OMIT: Final = Omit.OMIT


class RequestOptions(TypedDict, total=False):
    """What one call may set for itself; a value of None is as good as none.

    Keys:
        timeout_in_seconds: how long one attempt may take.
        max_retries: how often to try again, where trying again is safe; 0 = never.
        additional_headers, additional_query_parameters, additional_body_parameters: sent as well;
            they go before what the call itself would send.
        chunk_size: taken because the SDK takes it (for downloads of files); nothing here uses it.
    """

    timeout_in_seconds: float | None
    max_retries: int | None
    additional_headers: Mapping[str, Any] | None
    additional_query_parameters: Mapping[str, Any] | None
    additional_body_parameters: Mapping[str, Any] | None
    chunk_size: int | None


def check_options(options: RequestOptions) -> RequestOptions:
    """Return the options, after refusing what nothing would come of, silently.

    Raises:
        TypeError: no dict, or an unknown key; a time that is no number.
        ValueError: a limit that is none.
    """
    if not isinstance(options, Mapping):
        raise TypeError(f"request_options: expected a dict, got {type(options).__name__}")
    if unknown := sorted(set(options) - RequestOptions.__annotations__.keys()):
        known = ", ".join(RequestOptions.__annotations__)
        raise TypeError(f"unknown request_options {', '.join(unknown)}; there are: {known}")
    check_seconds("timeout_in_seconds", options.get("timeout_in_seconds"))
    retries = options.get("max_retries")
    if retries is not None and (not is_whole(retries) or retries < 0):
        raise ValueError(f"max_retries: expected a whole number from 0, got {retries!r}")
    return options


def check_seconds(name: str, value: object) -> None:
    """Raise TypeError or ValueError if an argument is given and is no number of seconds above 0."""
    if value is None:
        return
    if not (isinstance(value, float) or is_whole(value)):
        raise TypeError(f"{name}: expected seconds, got {type(value).__name__}")
    if not value > 0:
        raise ValueError(f"{name}: expected more than 0 seconds, got {value!r}")


def is_whole(value: object) -> TypeGuard[int]:
    """Say whether a value is a whole number; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def json_body(fields: Mapping[str, Any]) -> bytes:
    """Serialise the arguments of a call: `OMIT` left out, None as null.

    The bytes are the SDK's, to the last digit of a float; what Python's encoder does not know
    (models, dates, enums, UUIDs, sets) is written as pydantic writes it.

    Raises:
        TypeError: a value that JSON has no word for, `OMIT` inside a value.
        ValueError: a number that is not finite, text that UTF-8 has no bytes for, too many levels.
    """
    given = {name: value for name, value in fields.items() if value is not OMIT}
    try:
        return _flat(given) or _encoded(given)
    except RecursionError as exc:
        raise ValueError("the arguments are nested too deeply to be sent") from exc
    except PydanticSerializationError as exc:
        raise TypeError(f"the arguments cannot be sent as JSON: {exc}") from exc


def _flat(given: dict[str, Any]) -> bytes | None:
    """Write fields that are text and whole numbers in a tenth of the time, to the same bytes.

    None for any other: orjson's floats, dates and enums are not Python's.
    """
    if not _FLAT.issuperset(map(type, given.values())):
        return None
    try:
        return orjson.dumps(given)
    except orjson.JSONEncodeError:  # a number of more than 64 bits, half a surrogate pair
        return None


def _encoded(given: dict[str, Any]) -> bytes:
    try:
        return _dump(given)
    except TypeError:
        _refuse_omit(given)  # not plain JSON
    return _dump(to_jsonable_python(given, bytes_mode="base64"))


def _refuse_omit(value: Any) -> None:
    """Refuse `OMIT` inside a value, which would be written as text."""
    if value is OMIT:
        raise TypeError("OMIT stands for an argument, not for a part of one")
    inside = value.values() if isinstance(value, Mapping) else value
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        for item in inside:
            _refuse_omit(item)


def _dump(value: Any) -> bytes:
    return _ENCODER.encode(value).encode()


def query_string(fields: Mapping[str, Any]) -> str:
    """Encode query parameters; those that are None or `OMIT` are left out.

    A list gives one pair an item, an object one pair a field (`name[field]`).

    Raises:
        TypeError: `OMIT` inside a value.
        ValueError: too many levels.
    """
    pairs: list[tuple[str, Any]] = []
    try:
        for name, value in fields.items():
            if value is not None and value is not OMIT:
                _refuse_omit(value)
                pairs += _query_pairs(name, value)
    except RecursionError as exc:
        raise ValueError("the query is nested too deeply to be sent") from exc
    return urlencode(pairs)


def _query_pairs(name: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        inside = (_query_pairs(f"{name}[{key}]", item) for key, item in value.items())
        return [pair for pairs in inside for pair in pairs]
    if isinstance(value, list | tuple):
        return [pair for item in value for pair in _query_pairs(name, item)]
    if isinstance(value, bool):
        return [(name, "true" if value else "false")]
    if isinstance(value, Enum):
        return [(name, value.value)]
    return [(name, "" if value is None else value)]


def header_arguments(**given: object) -> dict[str, str]:
    """Return the arguments that travel as headers (`user_agent` → `x-user-agent`), as strings.

    None and `OMIT` give no header.
    """
    return {
        f"x-{name.replace('_', '-')}": str(value)
        for name, value in given.items()
        if value is not None and value is not OMIT
    }


def run_path(run_id: str, action: str = "") -> str:
    """Return the path of a run, or of an action on it, relative to the base URL.

    Raises:
        ValueError: the id is empty (the path would be that of the list).
    """
    return "v1/runs/" + segment(run_id) + (f"/{action}" if action else "")


def workflow_path(workflow_id: str) -> str:
    """Return the path of a workflow, relative to the base URL; raises as `run_path` does."""
    return "v1/workflows/" + segment(workflow_id, "workflow_id")


def segment(run_id: str, name: str = "run_id") -> str:
    """Return an id as one percent-encoded segment of a path; raises as `run_path` does."""
    if not isinstance(run_id, str):
        raise TypeError(f"{name}: expected text, got {type(run_id).__name__}")
    if not run_id:
        raise ValueError(f"{name} is empty")
    if run_id.isascii() and run_id.isidentifier():  # as Skyvern's ids are
        return run_id
    encoded = quote(run_id, safe="")
    # A segment of dots would climb up the path; `quote` leaves dots alone.
    return encoded if run_id.strip(".") else encoded.replace(".", "%2E")
