"""What the answers about a run's webhook mean: why it did not arrive, and having it sent again.

Pure functions. `calls.retry_run_webhook` and `flows.webhook_failure_reason` are the same calls for
people; these are for a queue, to which every outcome is a value.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from api_client.answers.parts import parse_json, refused_with, server_words, text_or_none
from api_client.errors import ApiError, NotFoundError, NotSupported


class ReplayClass(StrEnum):
    """What having a webhook sent again came to.

    TRIED: Skyvern sent it, and reports what the receiver said. NOT_REPORTED: an old server sent it
    and reports no more. PENDING: the run is about to be tried again. REFUSED: it will never be
    sent. TROUBLE: nothing was learned; it may have been sent.
    """

    TRIED = "tried"
    NOT_REPORTED = "not_reported"
    PENDING = "pending"
    REFUSED = "refused"
    TROUBLE = "trouble"


@dataclass(frozen=True, slots=True)
class Replay:
    """What having a webhook sent again came to.

    Attributes:
        outcome: its class.
        receiver_status: the receiver's answer; None = none came, or it is not reported.
        error: Skyvern's words on why it did not arrive; they may quote the receiver's URL.
        payload: what was sent, as it was signed; b'' = it is not reported.
        signature, timestamp: the headers of those names that went with it.
        detail, status_code, retry_after: as in `Submission`.
    """

    outcome: ReplayClass
    receiver_status: int | None = None
    error: str = ""
    payload: bytes = field(default=b"", repr=False)
    signature: str = ""
    timestamp: str = ""
    detail: str = ""
    status_code: int | None = None
    retry_after: float | None = None

    @property
    def arrived(self) -> bool:
        """Say whether the receiver took it: that Skyvern answered 200 says nothing."""
        return 200 <= (self.receiver_status or 0) < 300 and not self.error


class ReasonClass(StrEnum):
    """What reading why a webhook did not arrive came to.

    REPORTED: see the reason. NOT_FOUND: the server knows no such run. NOT_SUPPORTED: it does not
    say. TROUBLE: nothing was learned; try again later.
    """

    REPORTED = "reported"
    NOT_FOUND = "not_found"
    NOT_SUPPORTED = "not_supported"
    TROUBLE = "trouble"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a webhook did not arrive.

    Attributes:
        outcome: its class.
        reason: None = it is still being tried, or was not; '' = it arrived.
        detail, status_code, retry_after: as in `Submission`.
    """

    outcome: ReasonClass
    reason: str | None = None
    detail: str = ""
    status_code: int | None = None
    retry_after: float | None = None


def classify_replay(status: int, body: bytes, headers: Mapping[str, str]) -> Replay:
    """Say what the answer to a replay means. Never raises.

    Args:
        status: the HTTP status.
        body: the body, whole.
        headers: names in lower case, or a mapping that ignores case.
    """
    parsed = parse_json(body)
    if 200 <= status < 300:
        return _tried(status, body, parsed)
    words = server_words(body, parsed)
    outcome = ReplayClass.TROUBLE
    if status == 409:
        outcome = ReplayClass.PENDING
    elif status in {400, 404, 405, 413, 422}:
        outcome = ReplayClass.REFUSED
    return Replay(outcome, **refused_with(status, words, headers))


def _tried(status: int, body: bytes, parsed: Any) -> Replay:
    if isinstance(parsed, dict) and ("status_code" in parsed or "error" in parsed):
        code, error, sent = (parsed.get(name) for name in ("status_code", "error", "payload"))
        headers = _texts(parsed.get("headers"))
        return Replay(
            ReplayClass.TRIED,
            receiver_status=code if isinstance(code, int) else None,
            error=server_words((text_or_none(error) or "").encode(errors="replace"), None),
            payload=sent.encode(errors="replace") if isinstance(sent, str) else b"",
            signature=headers.get("x-skyvern-signature", ""),
            timestamp=headers.get("x-skyvern-timestamp", ""),
            status_code=status,
        )
    if isinstance(parsed, dict) or body.strip() in {b"", b"null"}:
        return Replay(
            ReplayClass.NOT_REPORTED, detail="the server does not tell", status_code=status
        )
    return Replay(
        ReplayClass.TROUBLE, detail="the body is not a replay's answer", status_code=status
    )


def _texts(headers: Any) -> dict[str, str]:
    if not isinstance(headers, dict):
        return {}
    return {name.lower(): text for name, text in headers.items() if isinstance(text, str)}


def classify_reason_error(exc: Exception, words: str) -> Reason:
    """Say what an error of `webhook_failure_reason` means. Never raises.

    Args:
        exc: what was raised.
        words: its words.
    """
    outcome = ReasonClass.TROUBLE
    if isinstance(exc, NotSupported):
        outcome = ReasonClass.NOT_SUPPORTED
    elif isinstance(exc, NotFoundError):
        outcome = ReasonClass.NOT_FOUND
    return Reason(
        outcome,
        detail=words,
        status_code=exc.status_code if isinstance(exc, ApiError) else None,
        retry_after=getattr(exc, "retry_after", None),
    )
