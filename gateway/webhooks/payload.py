"""Reading a webhook: its body, within limits, and its report of a run."""

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeGuard

import orjson
from starlette.types import Receive

from api_client.answers.false_failures import looks_completed
from api_client.answers.parts import unix_time
from api_client.types import is_over
from gateway.metrics import WebhookOutcome
from gateway.tenants.in_flight import InFlight
from gateway.webhooks.outcomes import WebhookRefused
from runqueue.ids import markers_in
from runqueue.records.job import STATES
from runqueue.request.json_values import holds_more_values

#: Bytes of one body.
MAX_BODY = 8 * 1024 * 1024
#: Values in one body, names of fields included: beyond, a worker reads the run instead.
MAX_VALUES = 250_000
#: Seconds in which a body has to be here.
BODY_SECONDS = 30.0

# No space: lists of runs in Redis are separated by them.
_RUN_ID = re.compile(r"[!-~]{1,200}")
_STATUS = re.compile(r"[!-~]{1,100}")

Headers = Iterable[tuple[bytes, bytes]]


class WebhookReport(NamedTuple):
    """What a webhook reports of a run.

    Args:
        state: the job's state by it; '' = the run goes on.
        parsed: the whole body.
    """

    run_id: str
    status: str
    state: str
    parsed: dict[str, Any]

    @property
    def needs_poll(self) -> bool:
        """Say whether only a poll shows how the run ended (`failures.py`)."""
        return looks_completed(self.parsed)

    @property
    def created_us(self) -> int:
        """When Skyvern made the run, microseconds since 1970; 0 = it does not say."""
        return int((unix_time(self.parsed.get("created_at")) or 0.0) * 1e6)

    def names_another(self, job_id: str, attempt: int) -> bool:
        """Say whether the run was submitted for something else than this attempt."""
        request = self.parsed.get("run_request")
        if not isinstance(request, dict):
            return False
        shown = (request.get("title"), request.get("webhook_url"))
        found = markers_in(" ".join(text for text in shown if isinstance(text, str)))
        return bool(found) and (job_id, attempt) not in found


def read_report(raw: bytes) -> WebhookReport:
    """Read the body of a webhook.

    Raises:
        WebhookRefused: it is no JSON object that describes a run, or one of too many values.
    """
    if holds_more_values(raw, MAX_VALUES):
        raise WebhookRefused(WebhookOutcome.TOO_LARGE)
    parsed = _parsed(raw)
    if not isinstance(parsed, dict):
        raise WebhookRefused(WebhookOutcome.UNREADABLE)
    run_id, status = parsed.get("run_id"), parsed.get("status")
    if not _is(run_id, _RUN_ID) or not _is(status, _STATUS):
        raise WebhookRefused(WebhookOutcome.UNREADABLE)
    over = is_over(status, parsed.get("retry_pending")) and not looks_completed(parsed)
    # An unknown status is no end, nor is one that some versions give to completed runs: a poll of
    # the run will show it.
    return WebhookReport(run_id, status, STATES.get(status, "") if over else "", parsed)


def _parsed(raw: bytes) -> Any:
    """Parse a body; None when it is no JSON.

    Skyvern's `json.dumps` writes what orjson refuses: NaN, half a surrogate pair.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def _is(value: Any, pattern: re.Pattern[str]) -> TypeGuard[str]:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


class Bodies:
    """Reads bodies; bounds the memory of those of each account."""

    def __init__(self) -> None:
        self._in_flight: defaultdict[str, InFlight] = defaultdict(InFlight)

    @asynccontextmanager
    async def reading(
        self, account: str, headers: Headers, receive: Receive
    ) -> AsyncIterator[bytes]:
        """Hold the body of a request.

        Args:
            account: whose it is; one that is set up.
            headers: those of the request.
            receive: brings its body.

        Raises:
            WebhookRefused: it is too large, does not arrive, or memory for it is short.
        """
        if _length(headers) > MAX_BODY:
            raise WebhookRefused(WebhookOutcome.TOO_LARGE)
        in_flight = self._in_flight[account]
        parts: list[bytes] = []
        try:
            await self._read(in_flight, receive, parts)
            yield parts[0] if len(parts) == 1 else b"".join(parts)
        finally:
            in_flight.size -= sum(map(len, parts))

    async def _read(self, in_flight: InFlight, receive: Receive, parts: list[bytes]) -> None:
        size = 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise WebhookRefused(WebhookOutcome.UNREADABLE)  # the sender has gone
                    part = message.get("body", b"")
                    size += len(part)
                    if size > MAX_BODY:
                        raise WebhookRefused(WebhookOutcome.TOO_LARGE)
                    if not in_flight.takes(len(part)):
                        raise WebhookRefused(WebhookOutcome.UNAVAILABLE)
                    parts.append(part)
                    if not message.get("more_body", False):
                        return
        except TimeoutError:
            raise WebhookRefused(WebhookOutcome.UNREADABLE) from None


def _length(headers: Headers) -> int:
    """Return the request's Content-Length; 0 = it has none."""
    for one, value in headers:
        if one == b"content-length":
            return int(value) if value.isdigit() and len(value) < 20 else MAX_BODY + 1
    return 0


def header(headers: Headers, name: bytes) -> str | None:
    """Return the first header of a name (in lower case)."""
    for one, value in headers:
        if one == name:
            return value.decode("latin-1")
    return None
