"""The calls about webhooks: what they told, and how they get to those who wait for them."""

import secrets
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from runqueue.records.claim_items import ClaimAnswer, Taken
from runqueue.records.delivery_items import (
    Delivered,
    DueDelivery,
    Report,
    Reported,
    WebhookVerdict,
)
from runqueue.store import compression
from runqueue.store.scripts import Argument, ScriptCall, load

#: Bytes of bodies in one reply of `delivery_claim`.
CLAIM_BYTES = 16 * 1024 * 1024


def record_webhook(account: str, items: Sequence[Reported]) -> ScriptCall[list[Report]]:
    """Record what webhooks told; see `record_webhook.lua`."""
    arguments: list[Argument] = []
    for item in items:
        arguments += [*item[:6], int(item.final), *item[7:]]

    def parse(reply: list[Any]) -> list[Report]:
        return [_report(answer) for answer in reply]

    return ScriptCall(load("record_webhook"), account, arguments, parse)


def _report(answer: Any) -> Report:
    if isinstance(answer, bytes):
        return Report(WebhookVerdict(answer.decode()))
    word, retry, runs = answer
    return Report(WebhookVerdict(word.decode()), retry.decode(), int(runs))


def delivery_claim(
    account: str,
    process: str,
    want: int,
    tick_us: int,
    *,
    linger: bool,
    lease_us: int,
    span_us: int,
    busy: Mapping[str, int] = MappingProxyType({}),
) -> ScriptCall[Taken[DueDelivery]]:
    """Take webhooks whose delivery is due; see `delivery_claim.lua`.

    Args:
        account, process: who asks.
        want: how many at most; 0 only refreshes the board.
        tick_us: the server's time in the message that started the pump; 0 = not the first claim.
        linger: whether to stay on the board although nothing is due.
        lease_us: when one that nobody recorded comes again.
        span_us: how long after its end a webhook is worth a try.
        busy: webhooks that the process has under way, by the endpoint they go to.
    """

    def parse(reply: list[Any]) -> Taken[DueDelivery]:
        if reply[0] != b"ok":
            return Taken(ClaimAnswer(reply[0].decode()), int(reply[1]))
        items = [_delivery(reply[i : i + 14]) for i in range(4, len(reply), 14)]
        return Taken(ClaimAnswer.OK, int(reply[1]), int(reply[2]), bool(reply[3]), 0, items)

    arguments: list[Argument] = [process, want, tick_us, int(linger), lease_us, span_us]
    arguments.append(CLAIM_BYTES)
    for endpoint, on_their_way in busy.items():
        arguments += [endpoint, on_their_way]
    return ScriptCall(load("delivery_claim"), account, arguments, parse)


def _delivery(row: Sequence[Any]) -> DueDelivery:
    job_id, attempt, run_id, run_status, via, tries, looks, forced, ended_us, signed, url, state = (
        raw.decode() for raw in row[:12]
    )
    return DueDelivery(
        job_id=job_id,
        attempt=int(attempt),
        run_id=run_id,
        run_status=run_status,
        via=via,
        tries=int(tries),
        looks=int(looks),
        forced=forced == "1",
        ended_us=int(ended_us),
        signed=signed,
        url=url,
        envelope=row[12],
        body=compression.result_of(row[13], int(ended_us)),
        state=state,
    )


def record_delivery(account: str, items: Sequence[Delivered]) -> ScriptCall[list[int]]:
    """Record what came of deliveries: per item 1 recorded, 0 it waits no more, or was recorded."""
    arguments: list[Argument] = []
    for item in items:
        arguments += [
            item.job_id,
            item.attempt,
            item.verdict,
            int(item.was_tried),
            "" if item.status is None else item.status,
            item.error[:500],
            item.wait_us,
            item.endpoint,
            int(item.answered),
            item.signed,
            item.body,
            item.tries,
            item.looks,
        ]
    return ScriptCall(load("record_delivery"), account, arguments, list)


def deliver_again(account: str, job_ids: Sequence[str], url: str = "") -> ScriptCall[list[int]]:
    """Have webhooks sent again: per id 1 it is due, 0 it has none, -1 no such job.

    Args:
        account: whose jobs these are.
        job_ids: the jobs.
        url: where to, instead of where they were to go; '' = there.
    """
    asked = secrets.token_hex(8)  # the same when the call is sent again, for its reply was lost
    return ScriptCall(load("deliver_again"), account, [url, asked, *job_ids], list)


def confirm_delivery(account: str, job_ids: Sequence[str]) -> ScriptCall[list[int]]:
    """Record that consumers have results: per id 1 done, 0 nobody is to be told, -1 no such job."""
    return ScriptCall(load("confirm_delivery"), account, list(job_ids), list)
