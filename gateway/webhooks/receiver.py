"""Where Skyvern's webhooks arrive: address, body, signature, content, record; the cheapest first.

An ASGI application of its own: it is the one route that serves a thousand requests a second.
"""

import re
import secrets
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

import structlog
from redis.exceptions import RedisError
from starlette.types import Receive, Scope, Send

from api_client import verify_webhook
from api_client.answers.parts import run_figures
from gateway.http.bursts import Burst
from gateway.metrics import Metrics, WebhookOutcome
from gateway.webhooks.outcomes import ANSWERS, QUIET, WebhookRefused
from gateway.webhooks.payload import Bodies, WebhookReport, header, read_report
from gateway.webhooks.webhook_writer import WebhookWriter
from runqueue import ids
from runqueue.records.delivery import Reported
from runqueue.records.job import short_reason
from runqueue.records.run_figures import FigureRules
from webhooks import receiver_address

log = structlog.get_logger()

#: The route.
PATH = receiver_address.PATH + "/{account}/{job_id}/{attempt}/{token}"

_ATTEMPT = re.compile(r"[1-9][0-9]{0,8}")
_TOKEN = re.compile(rf"[0-9a-f]{{{receiver_address.TOKEN_LENGTH}}}")
#: The timestamps that are kept: Skyvern does not sign them, so they may be anything.
_TIMESTAMP = re.compile(r"[0-9A-Za-z.:+-]{1,64}")


class Address(NamedTuple):
    """The attempt whose address a webhook came to."""

    account: str
    job_id: str
    attempt: int


class Receiver:
    """Takes webhooks.

    Args:
        keys: the API keys of each account, those that it had before included.
        writers: one for each account.
        metrics: counts the outcomes.
        rules: what is added to the figures of runs.
    """

    def __init__(
        self,
        keys: Mapping[str, tuple[str, ...]],
        writers: Mapping[str, WebhookWriter],
        metrics: Metrics,
        rules: FigureRules = FigureRules(),  # noqa: B008 # it cannot change
    ) -> None:
        self._keys = keys
        self._writers = writers
        self._metrics = metrics
        self._rules = rules
        self._bodies = Bodies()
        self._bursts: defaultdict[tuple[WebhookOutcome, str], Burst] = defaultdict(Burst)
        # An account that is not known costs the same work as a wrong token.
        self._nobody = (secrets.token_hex(),)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one webhook."""
        began = time.perf_counter()
        params = scope["path_params"]
        outcome, why = await self._outcome(params, scope["headers"], receive)
        account = params["account"] if params["account"] in self._keys else ""
        self._metrics.webhook(account, outcome, time.perf_counter() - began)
        if outcome not in QUIET:
            self._log(scope, account, outcome, why)
        await ANSWERS[outcome](scope, receive, send)

    async def _outcome(
        self, params: Mapping[str, str], headers: Any, receive: Receive
    ) -> tuple[WebhookOutcome, str]:
        """Return the outcome of a webhook, and for the log why the queue could not be reached."""
        try:
            address = self._address(**params)
            return await self._take(address, headers, receive), ""
        except WebhookRefused as refused:
            return refused.outcome, ""
        except (RedisError, OSError, TimeoutError) as error:
            return WebhookOutcome.UNAVAILABLE, f"{type(error).__name__}: {error}"[:200]

    async def _take(self, address: Address, headers: Any, receive: Receive) -> WebhookOutcome:
        """Read and record a webhook.

        Raises:
            WebhookRefused: it is refused.
        """
        try:
            async with self._bodies.reading(address.account, headers, receive) as raw:
                return await self._record(address, headers, raw)
        except WebhookRefused as refused:
            if refused.outcome is WebhookOutcome.TOO_LARGE:
                # Skyvern gives up on it, so a worker reads the run instead.
                await self._writers[address.account].poll_now(address.job_id)
            raise

    def _address(self, account: str, job_id: str, attempt: str, token: str) -> Address:
        """Read an address.

        Raises:
            WebhookRefused: no worker made it.
        """
        if not (
            ids.is_name(account)
            and ids.is_id(job_id)
            and _ATTEMPT.fullmatch(attempt)
            and _TOKEN.fullmatch(token)
        ):
            raise WebhookRefused(WebhookOutcome.BAD_ADDRESS)
        keys = self._keys.get(account, self._nobody)
        if not receiver_address.is_token(token, keys, account, job_id, int(attempt)):
            raise WebhookRefused(WebhookOutcome.BAD_ADDRESS)
        return Address(account, job_id, int(attempt))

    async def _record(self, address: Address, headers: Any, raw: bytes) -> WebhookOutcome:
        signature = header(headers, b"x-skyvern-signature")
        if signature is None or not verify_webhook(raw, signature, self._keys[address.account]):
            raise WebhookRefused(WebhookOutcome.BAD_SIGNATURE)
        webhook = read_report(raw)
        if webhook.names_another(address.job_id, address.attempt):
            raise WebhookRefused(WebhookOutcome.MISMATCH)
        timestamp = header(headers, b"x-skyvern-timestamp") or ""
        signed = f"{signature.strip()} {timestamp if _TIMESTAMP.fullmatch(timestamp) else ''}"
        item = Reported(
            job_id=address.job_id,
            attempt=address.attempt,
            run_id=webhook.run_id,
            run_status=webhook.status,
            state=webhook.state,
            signed=signed,
            final=False,
            body=raw,
            created_us=webhook.created_us,
            figures=self._figures(webhook),
            reason=_why(webhook),
        )
        writer = self._writers[address.account]
        outcome = await writer.record(item, webhook)
        if webhook.needs_poll and outcome is WebhookOutcome.NOTED:
            await writer.poll_now(address.job_id)
        return outcome

    def _figures(self, webhook: WebhookReport) -> str:
        if not webhook.state:
            return ""
        return self._rules.encode(webhook.run_id, webhook.state, run_figures(webhook.parsed))

    def _log(self, scope: Scope, account: str, outcome: WebhookOutcome, why: str) -> None:
        """Log the outcome of a webhook, now and then if it is that of many.

        The line names the job as far as its id is valid, and never the token.
        """
        more = self._bursts[outcome, account].count()
        if more is None:
            return
        address = (scope["client"] or ("",))[0]
        fields: dict[str, Any] = {"verdict": outcome.value, "account": account, "address": address}
        params = scope["path_params"]
        if ids.is_id(params["job_id"]) and _ATTEMPT.fullmatch(params["attempt"]):
            fields |= {"job_id": params["job_id"], "attempt": int(params["attempt"])}
        if why:
            fields["error"] = why
        log.warning("webhook", **fields, more=more)


def _why(webhook: WebhookReport) -> str:
    """Return why a run has no result; '' = it goes on, or completed, or does not say."""
    if webhook.state in {"", "completed"}:
        return ""
    return short_reason(webhook.parsed.get("failure_reason"))
