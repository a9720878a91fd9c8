"""Relaying: one webhook of a run that is over, from us to the URL that the request named.

What Skyvern signed goes on byte by byte. Where its webhook never came it is to send one; where
that brings none either, the result as it was read goes, signed by us with the same key.
"""

import random
import re
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import orjson

from api_client import verify_webhook
from api_client.answers.redelivery import Replay, ReplayClass
from runqueue import tracing
from runqueue.connection.urls import endpoint_of
from runqueue.records.delivery import Delivered, DueDelivery
from runqueue.store import codec
from webhooks.sender import Posted
from webhooks.signing import webhook_headers
from worker.process.account import AccountRuntime

#: Seconds that a receiver may take.
RELAY_SECONDS = 15.0
#: Seconds in which Skyvern has to send its webhook again, the wait for a permit included (it takes
#: 60 ms). Where that takes longer, the user gets the run as GET showed it.
ASK_SECONDS = 5.0
#: Seconds until what it sent to our gateway goes on, where its answer does not hold it.
NOT_REPORTED_SECONDS = 1.0
#: Seconds in which it gets no request, after it gave no answer: each would wait as long.
ASK_PAUSE = 60.0

#: What a refusal of a private target is followed by.
_ALLOWED_BY = "; RUNQUEUE_ALLOW_PRIVATE_WEBHOOK_TARGETS would allow it"

#: A URL in words, as far as it may reach: what closes a sentence or a bracket is not of it.
_URL = re.compile(r"(?<![A-Za-z])[A-Za-z]+://[^\s\"<>]*[^\s\"<>'.,:;!)\]}]")
#: What is left of URLs that begin with their path: the path, where it is called one, and queries.
_RELATIVE = re.compile(r"(?<=\burl: /)\S+|\?\S+", re.IGNORECASE)


def without_urls(words: str) -> str:
    """Return words with no more of each URL than its endpoint: paths and queries may be secret."""
    return _RELATIVE.sub("", _URL.sub(lambda found: endpoint_of(found[0]), words))


def target_of(item: DueDelivery) -> str:
    """Return where a webhook is to go; '' = nowhere.

    Raises:
        ValueError: the stored request is broken.
    """
    return item.url or codec.webhook_url(item.envelope)


def names_of(item: DueDelivery) -> dict[str, str]:
    """Return the headers that say whose webhook it is: the job, its state, its producer's name.

    A `custom_id` may hold any character but control characters, so it is percent-encoded (UTF-8).

    Raises:
        ValueError: the stored request is broken.
    """
    names = {"runqueue-job-id": item.job_id, "runqueue-job-state": item.state}
    custom_id = codec.read_envelope(item.envelope)[1]
    if custom_id is not None:
        names["runqueue-custom-id"] = quote(custom_id, safe="")
    return names


def next_try(
    tries: int, schedule: Sequence[float], chance: float, retry_after: float | None = None
) -> float | None:
    """Return after how many seconds a webhook is sent again; None = no more.

    Args:
        tries: how often it was sent before the try that failed.
        schedule: seconds before each further try.
        chance: 0 to 1; spreads the tries by ±10 %.
        retry_after: seconds that the receiver asks to be left alone.
    """
    if tries >= len(schedule):
        return None
    return max(schedule[tries] * (0.9 + 0.2 * chance), retry_after or 0.0)


def verdict(
    tries: int, posted: Posted, schedule: Sequence[float], chance: float
) -> tuple[str, float]:
    """Return what becomes of a webhook after a try, and the seconds until the next one."""
    if not posted.error:
        return "delivered", 0.0
    if posted.refused or posted.status == 410:  # the receiver is gone for good, and says so
        return "abandoned", 0.0
    wait = next_try(tries, schedule, chance, posted.retry_after)
    return ("abandoned", 0.0) if wait is None else ("again", wait)


def words_of(posted: Posted) -> str:
    """Return why a webhook was not delivered, and what would allow it; '' = it was."""
    return posted.error + (_ALLOWED_BY if posted.is_private else "")


def answered(status: int | None) -> bool:
    """Say whether a receiver answered, with whatever but a failure of its own."""
    return status is not None and status < 500 and status not in {408, 429}


def signed_by_skyvern(replay: Replay, keys: Sequence[str]) -> str:
    """Return signature and timestamp of what Skyvern sent again; '' = it does not say, or lies."""
    if not replay.payload or not verify_webhook(replay.payload, replay.signature, keys):
        return ""
    timestamp = replay.timestamp if replay.timestamp.isdigit() else str(int(time.time()))
    return f"{replay.signature.strip()} {timestamp}"


def result_of(
    item: DueDelivery, said: str, *, wait: float = 0.0, was_tried: bool = False, **seen: Any
) -> Delivered:
    """Return what came of a webhook.

    Args:
        item: the webhook; by its counts it is seen that a repeated or late record brings no news.
        said: the verdict.
        wait: seconds until the next try.
        was_tried: whether it was sent; else it was only checked.
        seen: the other fields of `Delivered`.
    """
    return Delivered(
        item.job_id,
        item.attempt,
        said,
        was_tried,
        wait_us=int(wait * 1e6),
        tries=item.tries,
        looks=item.looks,
        **seen,
    )


class Relay:
    """Sends an account's webhooks.

    Args:
        account: what the process holds for the account.
    """

    def __init__(self, account: AccountRuntime) -> None:
        self._account = account
        self._ask_from = 0.0

    async def deliver(self, item: DueDelivery) -> Delivered:
        """Send a webhook once, and say what came of it.

        Raises:
            RedisError: Redis is away, and nothing was sent.
        """
        account, target = self._account, target_of(item)
        signed, body = "", b""
        if self._asks(item):
            replay = await self._ask(item)
            signed = signed_by_skyvern(replay, account.settings.keys)
            account.metrics.redelivered("signed" if signed else "unsigned")
            if replay.outcome is ReplayClass.NOT_REPORTED:
                # Old servers do not say what they sent: if it came, it is with our gateway by now.
                return result_of(item, "again", wait=NOT_REPORTED_SECONDS)
            body = replay.payload if signed else b""
        headers = webhook_headers(
            body or self._body(item),
            webhook_id=f"msg_{item.job_id}_{item.attempt}",
            key=account.settings.keys[0],
            secrets=account.settings.signing_secrets,
            signed=signed or self._still_signed(item),
        )
        headers |= names_of(item)
        if trace := tracing.ambient():
            headers["traceparent"] = trace
        posted = await account.outbound.post(
            target, body or self._body(item), headers, RELAY_SECONDS
        )
        said, wait = verdict(
            item.tries, posted, account.worker_settings.webhook_retry_seconds, random.random()
        )
        account.metrics.relayed("refused" if posted.refused else said)
        return result_of(
            item,
            said,
            wait=wait,
            was_tried=True,
            status=posted.status,
            error=words_of(posted),
            endpoint="" if posted.refused else endpoint_of(target),
            answered=answered(posted.status),
            signed=signed,
            body=body,
        )

    def _asks(self, item: DueDelivery) -> bool:
        """Say whether Skyvern is to send it first: of a run that was polled no webhook came."""
        is_first = not (item.signed or item.tries or item.looks or item.forced)
        may = self._account.worker_settings.redeliver != "never" and self._account.receives
        return is_first and may and time.monotonic() >= self._ask_from

    async def _ask(self, item: DueDelivery) -> Replay:
        """Have Skyvern send its webhook to us."""
        account, until = self._account, time.monotonic() + ASK_SECONDS
        if not await account.permit_within(ASK_SECONDS):
            return Replay(ReplayClass.TROUBLE, detail="no permit in time")
        with account.metrics.timed("retry_webhook") as timer:
            replay = await account.client.retry_webhook(
                item.run_id,
                account.receiver(item.job_id, item.attempt),
                max(until - time.monotonic(), 0.1),
            )
            timer.status = replay.status_code
        if replay.status_code is None:  # it hangs, or is away
            self._ask_from = time.monotonic() + ASK_PAUSE
        elif replay.error:
            # RUNQUEUE_PUBLIC_URL is wrong, or the gateway is not running.
            account.log.warning(
                "skyvern_does_not_reach_the_gateway",
                job_id=item.job_id,
                attempt=item.attempt,
                run_id=item.run_id,
                why=without_urls(replay.error)[:300],
            )
        return replay

    def _still_signed(self, item: DueDelivery) -> str:
        """Return Skyvern's signature if it is that of the body: the key may have been changed."""
        signature = item.signed.partition(" ")[0]
        fits = signature and verify_webhook(item.body, signature, self._account.settings.keys)
        return item.signed if fits else ""

    def _body(self, item: DueDelivery) -> bytes:
        """Return what is sent; of a run whose result is not known, how it ended."""
        known = {"run_id": item.run_id, "status": item.run_status}
        return item.body or orjson.dumps(known)
