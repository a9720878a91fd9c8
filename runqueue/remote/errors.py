"""The gateway's refusals as this package's errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson

from runqueue.embedded.secret_files import TOKEN_FILE
from runqueue.errors import (
    FieldError,
    GatewayUnavailable,
    InvalidRequest,
    NotAllowed,
    QueueFull,
    QuotaReached,
    RunQueueError,
    UnknownAccount,
)

#: Characters of a detail that are shown: the server may be no gateway of ours.
_LONGEST = 500
#: What the gateway says of a call that it does not know, and of an account without workers.
_NOTHING_HERE = "there is nothing at this address"
_NO_ACCOUNT = "no worker has served"
_HOW_TO = (
    "set RUNQUEUE_TOKEN to a token of this gateway (one without RUNQUEUE_API_TOKENS has made its"
    f" own, in {TOKEN_FILE} where it runs)"
)


#: What statuses mean to a call: an error, or several of which the detail names one.
Meant = Mapping[int, RunQueueError | tuple[RunQueueError, ...]]


@dataclass(frozen=True, slots=True)
class Said:
    """A refusal as it came.

    Args:
        status: of HTTP.
        detail: what is wrong, in words.
        faults: the fields at fault.
        is_ours: whether it has the form of the gateway's refusals.
        retry_after: seconds after which to retry; None = it does not say.
    """

    status: int
    detail: str
    faults: list[FieldError] = field(default_factory=list)
    is_ours: bool = False
    retry_after: float | None = None


def read_refusal(answer: httpx.Response, token: str) -> Said:
    """Read an answer that is no success, its body there already.

    Args:
        answer: the answer.
        token: blanked wherever it might be said.
    """
    seconds = answer.headers.get("retry-after", "")
    after = float(seconds) if seconds.isascii() and seconds.isdigit() else None
    try:
        body = orjson.loads(answer.content)
        detail, faults = _shown(str(body["detail"]), token), _faults(body.get("errors"), token)
    except (ValueError, TypeError, KeyError, AttributeError):
        return Said(answer.status_code, "", retry_after=after)
    return Said(answer.status_code, detail, faults, is_ours=True, retry_after=after)


def _faults(errors: Any, token: str) -> list[FieldError]:
    return [
        FieldError(_shown(str(one["field"]), token), _shown(str(one["message"]), token))
        for one in errors or ()
    ]


def _shown(text: str, token: str) -> str:
    """Return a text without the token, and of a length that can be read."""
    return (text.replace(token, "***") if token else text)[:_LONGEST]


def error_of(
    said: Said,
    url: str,
    meant: Meant | None = None,
    refused: type[InvalidRequest] = InvalidRequest,
    *,
    has_token: bool = True,
) -> RunQueueError:
    """Return a refusal as an error.

    Args:
        said: the refusal.
        url: the gateway's.
        meant: what a status means to this call alone.
        refused: what fields at fault are to this call.
        has_token: whether a token was sent.
    """
    meant = meant or {}
    if said.status in {401, 403}:
        return NotAllowed(said.status, _not_allowed(said, url, has_token=has_token))
    if not said.is_ours:
        return GatewayUnavailable(url, f"answered {said.status}, not as a gateway does")
    if said.status == 405 or said.detail == _NOTHING_HERE:
        return GatewayUnavailable(
            url, "it does not know this call: is the URL right, and is it of this version?"
        )
    found = meant.get(said.status)
    if isinstance(found, tuple):
        return next((one for one in found if str(one) == said.detail), RunQueueError(said.detail))
    return found or _of_fields(said, refused) or _of_the_queue(said, url)


def _of_fields(said: Said, refused: type[InvalidRequest]) -> RunQueueError | None:
    if said.faults and said.faults[0].message.startswith(_NO_ACCOUNT):
        return UnknownAccount(said.faults[0].message.partition("'")[2].partition("'")[0])
    if said.faults or said.status == 413:
        return refused(said.faults or [FieldError("body", said.detail)])
    return None


def _of_the_queue(said: Said, url: str) -> RunQueueError:
    if said.detail == str(QueueFull()):
        return QueueFull()
    if said.detail.startswith(QuotaReached.BEGINS):
        return QuotaReached(said.detail)
    return GatewayUnavailable(url, f"answered {said.status}: {said.detail}")


def _not_allowed(said: Said, url: str, *, has_token: bool) -> str:
    where = GatewayUnavailable(url).address
    if said.status == 403:
        return f"gateway at {where}: {said.detail or 'it does not allow that'}"
    if not has_token:
        return f"gateway at {where}: expected a token: {_HOW_TO}"
    return f"gateway at {where}: it does not know the token that was given: {_HOW_TO}"
