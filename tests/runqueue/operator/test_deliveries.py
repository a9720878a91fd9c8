"""What people do about webhooks, by the thousand: found page by page, sent again, confirmed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from runqueue import InvalidRequest, UnknownAccount
from runqueue.cli.shared.queues import find
from runqueue.ids import new_id
from runqueue.operator.decisions import ACTS, Settled
from runqueue.producer.listing import PAGE, Filter
from runqueue.records.delivery import DeliveryState
from runqueue.store import delivery_calls
from runqueue.store.scripts import ScriptCall
from tests.runqueue.cli.commanding import Desk, done, line, ready
from tests.runqueue.cli.delivering import (
    PREFIX,
    abandoned,
    delivered,
    relayed,
    told,
    unknown,
    watched,
)

PENDING, ABANDONED = DeliveryState.PENDING, DeliveryState.ABANDONED
#: Several pages, and no whole number of them.
MANY = 2 * PAGE + 234


def found(
    desk: Desk, state: DeliveryState = ABANDONED, account: str | None = None, **wanted: Any
) -> list[str]:
    return [job.id for job in find(desk.queue, Filter(webhook=state, **wanted), account)]


def many(count: int) -> list[dict[str, Any]]:
    return [told(f"order-{number}") for number in range(count)]


def test_every_webhook_is_found_once_over_many_pages(desk: Desk) -> None:
    ids = abandoned(desk, *many(MANY))

    assert sorted(found(desk)) == sorted(ids)


@pytest.mark.parametrize("count", [PAGE - 1, PAGE, PAGE + 1, 2 * PAGE])
def test_webhooks_of_the_same_instant_are_found_once_each(desk: Desk, count: int) -> None:
    ids = abandoned(desk, *many(count))
    desk.client.zadd(f"{PREFIX}abandoned", dict.fromkeys(ids, 1_800_000_000_000_000))

    assert sorted(found(desk)) == sorted(ids)


def test_pending_are_those_that_we_send_and_those_that_skyvern_does(desk: Desk) -> None:
    ours, skyvern_s = relayed(desk, told("a")), watched(desk, told("b"))
    abandoned(desk, told("c"))
    relayed(desk, line("d"))

    assert set(found(desk, PENDING)) == {*ours, *skyvern_s}


def test_webhooks_are_found_by_filter(desk: Desk) -> None:
    _, shop = abandoned(desk, told("a"), told("b", group="shop"))

    assert found(desk, group="shop") == [shop]
    assert found(desk, batch="nonsense") == []
    assert found(desk, account="default", group="shop") == [shop]


def test_webhooks_that_leave_while_they_are_gone_through_hide_no_others(desk: Desk) -> None:
    abandoned(desk, *many(MANY))

    sent = sum(
        done(desk.queue.deliver_again([job.id]))
        for job in find(desk.queue, Filter(webhook=ABANDONED))
    )

    assert sent == MANY


@pytest.mark.parametrize("state", [DeliveryState.DELIVERED, DeliveryState.NONE])
def test_a_state_without_an_index_is_refused_at_once(desk: Desk, state: DeliveryState) -> None:
    with pytest.raises(
        InvalidRequest, match="webhook: expected one of pending, abandoned, unknown"
    ):
        desk.queue.list_jobs(Filter(webhook=state))
    with pytest.raises(
        InvalidRequest, match="webhook: expected one of pending, abandoned, unknown"
    ):
        found(desk, state)


def test_an_account_that_nobody_knows_is_told(desk: Desk) -> None:
    with pytest.raises(UnknownAccount):
        found(desk, account="nobody")


def test_each_job_is_told_what_came_of_it(desk: Desk) -> None:
    (gone,), (hidden,) = abandoned(desk, told("gone")), unknown(desk, told("hidden"))
    (quiet,), (waiting,) = relayed(desk, line("quiet")), ready(desk, told("waiting"))
    ids = [gone, hidden, quiet, waiting, new_id("default"), "nonsense"]

    assert list(desk.queue.deliver_again(ids).values()) == [
        Settled.DONE,
        Settled.DONE,
        Settled.NO_WEBHOOK,
        Settled.NO_WEBHOOK,
        Settled.NO_SUCH_JOB,
        Settled.NO_SUCH_JOB,
    ]
    assert list(desk.queue.deliver_again(ids, "https://other.test").values()) == [
        Settled.DONE,
        Settled.DONE,
        Settled.DONE,
        Settled.NO_ENDED_RUN,
        Settled.NO_SUCH_JOB,
        Settled.NO_SUCH_JOB,
    ]


def test_a_wrong_url_is_refused_before_anything_is_asked_or_told(desk: Desk) -> None:
    (job_id,) = abandoned(desk, told("a"))
    before = desk.client.info("stats")["total_commands_processed"]

    with pytest.raises(ValueError, match=r"^url: expected an http") as refusal:
        desk.queue.deliver_again([job_id], "gopher://me:pa55@host")

    assert "pa55" not in str(refusal.value)
    # The reading of the figures itself is one.
    assert desk.client.info("stats")["total_commands_processed"] == before + 1


@pytest.mark.parametrize("name", ["deliver_again", "confirm_delivery"])
def test_thousands_of_webhooks_are_settled_in_pages(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    ids = abandoned(desk, *many(MANY))
    sizes: list[int] = []
    call = getattr(delivery_calls, name)

    def noting(account: str, job_ids: Sequence[str], *rest: str) -> ScriptCall[list[int]]:
        sizes.append(len(job_ids))
        made: ScriptCall[list[int]] = call(account, job_ids, *rest)
        return made

    monkeypatch.setattr(delivery_calls, name, noting)
    settled = getattr(desk.queue, name)([*ids, ids[0]])

    assert done(settled) == len(settled) == MANY
    assert sizes == [*[ACTS] * (MANY // ACTS), MANY % ACTS]


def test_confirmed_is_what_somebody_was_to_be_told(desk: Desk) -> None:
    (gone,), (told_already,) = abandoned(desk, told("gone")), delivered(desk, told("told"))
    (quiet,), unheard_of = relayed(desk, line("quiet")), new_id("default")

    settled = desk.queue.confirm_delivery([gone, told_already, quiet, unheard_of])

    assert settled == {
        gone: Settled.DONE,
        told_already: Settled.DONE,
        quiet: Settled.NO_WEBHOOK,
        unheard_of: Settled.NO_SUCH_JOB,
    }
    assert desk.queue.get(gone).webhook.state is DeliveryState.DELIVERED
