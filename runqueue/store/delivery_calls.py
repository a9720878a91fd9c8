"""The calls about webhooks: what they report, and how they get to their receivers."""

import secrets
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from runqueue.records.claim_items import Taken
from runqueue.records.delivery_items import (
    Delivered,
    DueDelivery,
    Report,
    Reported,
    WebhookVerdict,
)
from runqueue.store import compression
from runqueue.store.replies import OfItems, codes, of_ids, of_items, rows, taken
from runqueue.store.scripts import Argument, ScriptCall, load

#: Bytes of bodies in one reply of `delivery_claim`.
CLAIM_BYTES = 16 * 1024 * 1024


def _report(answer: Any) -> Report:
    if isinstance(answer, bytes):
        return Report(WebhookVerdict(answer.decode()))
    word, retry, runs = answer
    return Report(WebhookVerdict(word.decode()), retry.decode(), int(runs))


#: Record what webhooks reported; see `record_webhook.lua`.
record_webhook: OfItems[Reported, list[Report]] = of_items(
    "record_webhook",
    lambda reply: [_report(answer) for answer in reply],
    lambda item: (*item[:6], int(item.final), *item[7:]),
)


def delivery_claim(
    account: str,
    process: str,
    limit: int,
    tick_us: int,
    *,
    linger: bool,
    lease_us: int,
    span_us: int,
    busy: Mapping[str, int] = MappingProxyType({}),
) -> ScriptCall[Taken[DueDelivery]]:
    """Take webhooks whose delivery is due; see `delivery_claim.lua`.

    Args:
        account, process: the account and the process that claims.
        limit: how many at most; 0 only refreshes the list of active consumers.
        tick_us: the server's time in the message that started it; 0 = not its first claim.
        linger: whether the consumer stays active although nothing is due.
        lease_us: when one that nobody recorded comes again.
        span_us: how long after its end a webhook is worth a try.
        busy: webhooks that the process has under way, by the endpoint they go to.
    """

    def parse(reply: list[Any]) -> Taken[DueDelivery]:
        return taken(reply, map(_delivery, rows(reply, 4, 14)))

    arguments: list[Argument] = [process, limit, tick_us, int(linger), lease_us, span_us]
    arguments.append(CLAIM_BYTES)
    for endpoint, under_way in busy.items():
        arguments += [endpoint, under_way]
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


#: Record what came of deliveries: per item 1 recorded, 0 it waits no more, or was recorded.
record_delivery: OfItems[Delivered, list[int]] = of_items(
    "record_delivery",
    codes,
    lambda item: (
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
    ),
)
#: Record that consumers have results: per id 1 done, 0 it has no receiver, -1 no such job.
confirm_delivery = of_ids("confirm_delivery", codes)


def deliver_again(account: str, job_ids: Sequence[str], url: str = "") -> ScriptCall[list[int]]:
    """Have webhooks sent again: per id 1 it is due, 0 it has none, -1 no such job.

    Args:
        account: whose jobs these are.
        job_ids: the jobs.
        url: where to, instead of where they were to go; '' = there.
    """
    request = secrets.token_hex(8)  # the same when the call is sent again, as its reply was lost
    return ScriptCall(load("deliver_again"), account, [url, request, *job_ids], codes)
