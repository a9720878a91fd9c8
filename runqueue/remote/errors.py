"""The gateway's refusals as this package's errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson

from runqueue.embedded.secret_files import TOKEN_FILE
from runqueue.errors import (
    ArchiveUnavailable,
    FieldError,
    GatewayUnavailable,
    InvalidRequest,
    NotAllowed,
    QuotaReached,
    RunQueueError,
)
from runqueue.problem_types import BY_URI, member_types

#: Characters of a text that are shown: the server may be no gateway of ours.
_LONGEST = 500
_PROBLEM = "application/problem+json"
#: What RFC 9457 has of a problem without a type.
_BLANK = "about:blank"
#: Statuses of requests that may go well another time, besides those of 500 and more.
_PASSING = {400, 408, 429}
_TOO_LARGE = "it is too large for the gateway, or for a proxy before it"
_HOW_TO = (
    "set RUNQUEUE_TOKEN to a token of this gateway (one without RUNQUEUE_API_TOKENS has made its"
    f" own, in {TOKEN_FILE} where it runs)"
)


@dataclass(frozen=True, slots=True)
class Said:
    """A refusal as it came.

    Args:
        status: of HTTP.
        retry_after: seconds after which to retry; None = it does not say.
        type: the problem's; None = the answer is no problem.
        detail: what is wrong, in words.
        faults: the fields at fault.
        members: all that the problem says.
    """

    status: int
    retry_after: float | None = None
    type: str | None = None
    detail: str = ""
    faults: list[FieldError] = field(default_factory=list)
    members: Mapping[str, Any] = field(default_factory=dict)


def read_refusal(answer: httpx.Response, token: str) -> Said:
    """Read an answer that is no success, its body there already.

    Args:
        answer: the answer.
        token: blanked wherever it might be said.
    """
    seconds = answer.headers.get("retry-after", "")
    after = float(seconds) if seconds.isascii() and seconds.isdigit() else None
    said = Said(answer.status_code, after)
    if answer.headers.get("content-type", "").partition(";")[0].strip().lower() != _PROBLEM:
        return said
    try:
        body = {name: _shown(one, token) for name, one in orjson.loads(answer.content).items()}
        faults = [
            FieldError(_shown(str(one["field"]), token), _shown(str(one["message"]), token))
            for one in body.get("errors") or ()
        ]
    except (ValueError, TypeError, KeyError, AttributeError):
        return said
    detail = _shown(str(body.get("detail") or body.get("title") or ""), token)
    return Said(said.status, after, str(body.get("type", _BLANK)), detail, faults, body)


def _shown(value: Any, token: str) -> Any:
    """Return a text without the token, and of a length that can be read."""
    if not isinstance(value, str):
        return value
    return (value.replace(token, "***") if token else value)[:_LONGEST]


def error_of(said: Said, url: str, *, has_token: bool = True) -> RunQueueError:
    """Return a refusal as an error: that of its type; without a known one, what its status means.

    Args:
        said: the refusal.
        url: the gateway's.
        has_token: whether a token was sent.
    """
    if said.status in {401, 403}:
        return NotAllowed(said.status, _not_allowed(said, url, has_token=has_token))
    kind = BY_URI.get(said.type or "")
    error = _of_type(kind.error, said) if kind and kind.error else None
    return error or _of_status(said, url)


def _of_type(error: type[RunQueueError], said: Said) -> RunQueueError | None:
    """Return an error with the values that the problem has; None = it is as its status says."""
    if issubclass(error, InvalidRequest):
        return error(said.faults or [FieldError("body", said.detail)])
    if issubclass(error, QuotaReached | ArchiveUnavailable):
        return error(said.detail)
    types = member_types(error)
    values = {name: said.members.get(name) for name in types}
    is_whole = all(type(values[name]) is kind for name, kind in types.items())
    return error(**values) if is_whole else None


def _of_status(said: Said, url: str) -> RunQueueError:
    if said.faults or said.status == 413:
        return InvalidRequest(said.faults or [FieldError("body", said.detail or _TOO_LARGE)])
    if said.type is None:
        return GatewayUnavailable(url, f"answered {said.status}, not as a gateway does")
    if said.status in {404, 405}:
        return GatewayUnavailable(
            url, "it does not know this call: is the URL right, and is it of this version?"
        )
    if said.status in range(400, 500) and said.status not in _PASSING:
        return RunQueueError(said.detail)
    return GatewayUnavailable(url, f"answered {said.status}: {said.detail}")


def _not_allowed(said: Said, url: str, *, has_token: bool) -> str:
    where = GatewayUnavailable(url).address
    if said.status == 403:
        return f"gateway at {where}: {said.detail or 'it does not allow that'}"
    if not has_token:
        return f"gateway at {where}: expected a token: {_HOW_TO}"
    return f"gateway at {where}: it does not know the token that was given: {_HOW_TO}"
