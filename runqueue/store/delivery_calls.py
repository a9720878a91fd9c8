"""The calls about webhooks: what they report, and how they get to their receivers."""

import secrets
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from runqueue.records.batch import Batch, read_batch
from runqueue.records.claim_items import Taken
from runqueue.records.delivery import Delivered, DueDelivery, Report, Reported, WebhookVerdict
from runqueue.store import compression
from runqueue.store.replies import (
    OfItems,
    as_arguments,
    codes,
    of_ids,
    of_items,
    records,
    rows,
    taken,
)
from runqueue.store.scripts import Argument, ScriptCall, load

#: Bytes of bodies in one reply of `delivery_claim`.
CLAIM_BYTES = 16 * 1024 * 1024


def _report(answer: Any) -> Report:
    if isinstance(answer, bytes):
        return Report(WebhookVerdict(answer.decode()))
    word, retry, runs, session = answer
    return Report(WebhookVerdict(word.decode()), retry.decode(), int(runs), session.decode())


#: Record what webhooks reported; see `record_webhook.lua`.
record_webhook: OfItems[Reported, list[Report]] = of_items(
    "record_webhook", lambda reply: [_report(answer) for answer in reply], as_arguments
)


def delivery_claim(
    account: str,
    process: str,
    limit: int,
    tick_us: int,
    *,
    stay_idle: bool,
    lease_us: int,
    span_us: int,
    busy: Mapping[str, int] = MappingProxyType({}),
) -> ScriptCall[Taken[DueDelivery]]:
    """Take webhooks whose delivery is due; see `delivery_claim.lua`.

    Args:
        account, process: the account and the process that claims.
        limit: how many at most; 0 only refreshes the list of active consumers.
        tick_us: the server's time in the message that started it; 0 = not its first claim.
        stay_idle: whether the consumer stays active although nothing is due.
        lease_us: when one without a record comes again.
        span_us: how long after its end a webhook is worth a try.
        busy: webhooks that the process has under way, by the endpoint they go to.
    """

    def parse(reply: list[Any]) -> Taken[DueDelivery]:
        return taken(reply, map(_delivery, rows(reply, 4, 14)))

    arguments: list[Argument] = [process, limit, tick_us, int(stay_idle), lease_us, span_us]
    arguments.append(CLAIM_BYTES)
    for endpoint, under_way in busy.items():
        arguments += [endpoint, under_way]
    return ScriptCall(load("delivery_claim"), account, arguments, parse)


def _delivery(row: Sequence[Any]) -> DueDelivery:
    (due,) = records(DueDelivery, [[*row[:11], *row[12:], row[11]]])
    return due._replace(body=compression.result_of(due.body, due.ended_us))


#: Record what came of deliveries: per item 1 recorded, 0 it waits no more, or was recorded.
record_delivery: OfItems[Delivered, list[int]] = of_items(
    "record_delivery", codes, lambda item: as_arguments(item._replace(error=item.error[:500]))
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


# The calls about callbacks of batches: what is due, and what came of it.


class DueCallback(NamedTuple):
    """An event of a batch that its callback_url is to hear of.

    Args:
        batch: its state now.
        event: which of its events, as the scripts name it: `<n>:<what>:<share>`.
        tries: how often it was sent so far.
        at_us: when it happened, by the queue's clock.
        url: where to; it may be secret.
    """

    batch: Batch
    event: str
    tries: int
    at_us: int
    url: str

    def __repr__(self) -> str:
        return f"DueCallback({self.batch.id!r}, {self.event!r}, {self.tries})"

    @property
    def what(self) -> str:
        """What happened: `progress`, or the status that the batch ended with."""
        return self.event.split(":")[1]

    @property
    def share(self) -> float | None:
        """The share of its jobs that have ended, of `progress`."""
        share = self.event.split(":")[2]
        return float(share) if share else None

    @property
    def name(self) -> str:
        """Names batch and event, the same at each try: a receiver knows duplicates by it."""
        number = self.event.split(":")[0]
        return f"msg_{self.batch.id}_{number}_{self.what}"


class CallbackOutcome(NamedTuple):
    """What came of a callback.

    Args:
        tries: those of the `DueCallback`: said again, it is not counted again.
        verdict: again, delivered or abandoned.
        was_tried: whether it was sent.
        error: why it was not delivered, in words.
        wait_us: until the next try.
    """

    batch: str
    event: str
    tries: int
    verdict: str
    was_tried: bool = True
    error: str = ""
    wait_us: int = 0


def callback_claim(
    account: str, process: str, limit: int, tick_us: int, *, stay_idle: bool, lease_us: int
) -> ScriptCall[Taken[DueCallback]]:
    """Take callbacks that are due; see `callback_claim.lua`, and `delivery_claim`."""

    def parse(reply: list[Any]) -> Taken[DueCallback]:
        return taken(reply, (_due(account, row, int(reply[1])) for row in rows(reply, 4, 8)))

    arguments: list[Argument] = [process, limit, tick_us, int(stay_idle), lease_us]
    return ScriptCall(load("callback_claim"), account, arguments, parse)


def callback_again(account: str, batch: str, url: str = "") -> ScriptCall[int | None]:
    """Have the callbacks of a batch sent again that were abandoned; see `callback_again.lua`.

    Args:
        account, batch: whose it is, and its id.
        url: where to, from now on; '' = where they were to go.

    Returns:
        How many are due; None = no such batch.
    """
    request = secrets.token_hex(8)  # the same when the call is sent again, as its reply was lost
    return ScriptCall(load("callback_again"), account, [batch, url, request], _count)


def _count(reply: int | None) -> int | None:
    return reply


def _due(account: str, row: Sequence[Any], now_us: int) -> DueCallback:
    name, event, tries, at_us, url, record, jobs, waits = row
    batch = read_batch(account, name.decode(), record, int(jobs), now_us, waits=waits)
    assert batch is not None  # noqa: S101 - the script saw that it is one
    return DueCallback(batch, event.decode(), int(tries), int(at_us), url.decode())


#: Record what came of callbacks: per item 1 recorded, 0 it waits no more, or was recorded.
record_callback: OfItems[CallbackOutcome, list[int]] = of_items(
    "record_callback", codes, lambda item: as_arguments(item._replace(error=item.error[:500]))
)
