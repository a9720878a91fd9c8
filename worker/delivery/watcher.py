"""Watching: a webhook that Skyvern sends to the user itself. Did it arrive, and if not, again.

Skyvern tries three times, 94 s at most, and then gives up for good. A request shows why;
another has it send a webhook again, within the call.
"""

import random
from collections.abc import Sequence

from api_client import ReadClass, RunReading
from api_client.answers.redelivery import Reason, ReasonClass, Replay, ReplayClass
from config.webhooks import Redeliver
from runqueue.records.delivery import Delivered, DueDelivery
from worker.delivery.relay import next_try, result_of, without_urls
from worker.process.account import AccountRuntime

#: Seconds one read may take.
READ_SECONDS = 12.0
#: Seconds that Skyvern may take to send its webhook again: the receiver alone has 60.
REPLAY_SECONDS = 75.0
#: Seconds after its end in which Skyvern may still be trying to deliver a run's webhook.
STILL_TRIED = 130.0
#: Seconds until each further check while it may; the last one for ever.
CHECKS = (10.0, 20.0, 30.0, 60.0)
#: Seconds after its end for which a run is checked, if the server gives no answer.
ASKED_FOR = 86_400.0
#: Seconds until a run of which a retry is pending is checked again, and how often at most.
PENDING_SECONDS, MOST_PENDING = 30.0, 120


def checked(
    item: DueDelivery, reason: Reason, age: float, redeliver: Redeliver
) -> Delivered | None:
    """Return what a check says of a webhook; None = Skyvern is to send it again.

    Args:
        item: the webhook.
        reason: what Skyvern says.
        age: seconds since the run's end was seen.
        redeliver: when Skyvern is to.
    """
    if reason.reason == "":
        return _checked(item, "delivered")
    if reason.reason is not None:
        return _checked(item, "abandoned", error=reason.reason) if redeliver == "never" else None
    wait = CHECKS[min(item.looks, len(CHECKS) - 1)]
    if reason.outcome is ReasonClass.TROUBLE and age < ASKED_FOR:
        return _checked(item, "again", max(wait, reason.retry_after or 0.0), reason.detail)
    if age < STILL_TRIED:
        # A server that never says why gets no request before it has surely given up.
        is_mute = reason.outcome is not ReasonClass.REPORTED
        return _checked(item, "again", max(wait, STILL_TRIED - age) if is_mute else wait)
    if redeliver == "always" and reason.outcome is not ReasonClass.TROUBLE:
        return None
    return _checked(item, "unknown", error=reason.detail or "Skyvern does not tell")


def driven(
    item: DueDelivery, replay: Replay, schedule: Sequence[float], chance: float
) -> Delivered:
    """Return what became of a webhook that Skyvern was to send again.

    Args:
        item: the webhook.
        replay: what Skyvern says.
        schedule, chance: as in `sender.next_try`.
    """
    words, wait = without_urls(replay.error or replay.detail), 0.0
    if replay.outcome is ReplayClass.PENDING:
        if item.looks < MOST_PENDING:
            return _checked(item, "again", PENDING_SECONDS, words)
        said = "abandoned"
    elif replay.outcome is ReplayClass.NOT_REPORTED:
        said = "unknown"
    elif replay.outcome is ReplayClass.TRIED and replay.arrived:
        said, words = "delivered", ""
    else:
        words = words or _answered(replay.receiver_status)
        is_gone = replay.outcome is ReplayClass.REFUSED or replay.receiver_status == 410
        again = None if is_gone else next_try(item.tries, schedule, chance, replay.retry_after)
        said, wait = ("abandoned", 0.0) if again is None else ("again", again)
    status = replay.receiver_status
    return result_of(item, said, wait=wait, was_tried=True, status=status, error=words)


def _answered(status: int | None) -> str:
    return "the receiver gave no answer" if status is None else f"the receiver answered {status}"


def _checked(item: DueDelivery, said: str, wait: float = 0.0, error: str = "") -> Delivered:
    return result_of(item, said, wait=wait, error=without_urls(error))


def reason_in_run(reading: RunReading) -> Reason | None:
    """Return why a webhook did not arrive by the run itself, where old servers say it.

    They call such a run failed, for a reason that names the webhook, and its output is there.
    """
    words = reading.failure_reason or ""
    if reading.outcome is not ReadClass.RUN or "webhook" not in words.lower():
        return None
    has_output = reading.shown.get("output") is not None
    return Reason(ReasonClass.REPORTED, reason=words) if has_output else None


class WebhookWatcher:
    """Checks the webhooks that Skyvern sends to users of an account.

    Args:
        account: what the process holds for the account.
    """

    def __init__(self, account: AccountRuntime) -> None:
        self._account = account

    async def check(self, item: DueDelivery, age: float) -> Delivered | None:
        """Say whether a webhook arrived; None = it did not, so Skyvern is to send it again.

        Args:
            item: the webhook; one that was sent again before, or that a person wants sent, is not
                looked at: the reason of before stays what it was.
            age: seconds since the run's end was seen.

        Raises:
            RedisError: Redis is away.
        """
        if item.tries or item.forced:
            return None
        account = self._account
        with account.metrics.timed("webhook_reason") as timer:
            reason = await account.client.webhook_failure_reason(
                item.run_id, account.permit, READ_SECONDS
            )
            timer.status = reason.status_code or (
                200 if reason.outcome is ReasonClass.REPORTED else None
            )
        if reason.outcome is ReasonClass.NOT_SUPPORTED:
            reason = await self._read(item) or reason
        return checked(item, reason, age, account.worker_settings.redeliver)

    async def _read(self, item: DueDelivery) -> Reason | None:
        account = self._account
        await account.permit()
        with account.metrics.timed("get") as timer:
            reading = await account.client.get_run(item.run_id, READ_SECONDS)
            timer.status = reading.status_code
        return reason_in_run(reading)

    async def drive(self, item: DueDelivery, *, is_paid: bool) -> Delivered:
        """Have Skyvern send a webhook again, and say what came of it.

        Args:
            item: the webhook.
            is_paid: whether the permit that the claim took is not used yet.

        Raises:
            RedisError: Redis is away, and nothing was sent.
        """
        account = self._account
        if not is_paid:
            await account.permit()
        with account.metrics.timed("retry_webhook") as timer:
            replay = await account.client.retry_webhook(
                item.run_id, item.url or None, REPLAY_SECONDS
            )
            timer.status = replay.status_code
        result = driven(
            item, replay, account.worker_settings.webhook_retry_seconds, random.random()
        )
        account.metrics.redelivered(result.verdict)
        return result
