"""What is told when: each event as it begins, lasts and ends, to real receivers."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from typer.main import get_command

from runqueue.cli.app import app
from runqueue.records.batch import BatchRules
from runqueue.records.schedule import Schedule, ScheduleSpec
from runqueue.schedules import calls
from runqueue.store import job_calls, operator_calls
from runqueue.store.budgets import Budget, set_budget
from tests.runqueue.lua.clockwork import DAY, SECOND, Clockwork
from tests.simulator.simulating import eventually
from tests.webhooks.notices.telling import (
    SECRET,
    Receiver,
    Teller,
    counted,
    receiving,
    records,
    send_and_be_killed,
)
from webhooks.notices import notifier, sending
from webhooks.notices.notifier import EVENTS, Event

HOUR = 3600


#: Begins or ends something.
Act = Callable[[Clockwork], Any]


def hold(clock: Clockwork) -> None:
    hold: dict[Any, Any] = {
        "hold_until": clock.now + DAY * 400,
        "hold_kind": "account",
        "hold_reason": "refused",
    }
    clock.client.hset(clock.key("meta"), mapping=hold | {"hold_person": "1"})


def spend(steps: int, scope: str = "account") -> Act:
    def act(clock: Clockwork) -> None:
        clock.run(set_budget("default", scope, Budget(100)))
        clock.client.hset(clock.key(f"spent:{scope}:0"), scope, steps)

    return act


def add(zset: str, seconds_ago: int = 0) -> Act:
    return lambda clock: clock.client.zadd(
        clock.key(zset), {"j1": clock.now - seconds_ago * SECOND}
    )


def delete(zset: str) -> Act:
    return lambda clock: clock.client.delete(clock.key(zset))


def end(completed: int, failed: int) -> Act:
    def act(clock: Clockwork) -> None:
        clock.heartbeat(first=True)
        clock.enqueue(completed + failed, group="acme")
        clock.end_all(*["completed"] * completed, *["failed"] * failed)

    return act


def in_archive(field: str, value: str) -> Act:
    def act(clock: Clockwork) -> None:
        end(1, 0)(clock)
        clock.wait(601)
        clock.client.hset(clock.key("archive"), field, value)

    return act


#: An event, what begins and ends it, and how that is told.
Lasting = tuple[str, Act, Act, str, str]
LASTING: list[Lasting] = [
    (
        *("account_held", hold, lambda clock: clock.run(job_calls.resume("default"))),
        *("account held", "account free again"),
    ),
    ("budget_80", spend(80), spend(70), "budget at 80 %", "budget below 80 % again"),
    ("budget_spent", spend(101), spend(7), "budget spent", "budget is left"),
    (
        *("unconfirmed", add("unconfirmed", 601), delete("unconfirmed")),
        *("jobs unconfirmed", "jobs settled"),
    ),
    ("needs_person", add("paused"), delete("paused"), "run needs a person", "run goes on"),
    ("failures", end(1, 3), end(5, 0), "many jobs fail", "fewer jobs fail"),
    ("no_worker", delete("processes"), add("processes", -DAY), "no worker", "worker is back"),
    (
        *("archive_waits", in_archive("id", "a"), delete("archive")),
        *("archive is behind", "archive has caught up"),
    ),
    (
        *("new_errors", in_archive("new_errors", "7:12"), delete("archive")),
        *("new errors", "new errors are rare"),
    ),
]


def known(clock: Clockwork) -> list[str]:
    found: Any = clock.client.hkeys(clock.key("notices"))
    return [name.decode() for name in found]


@pytest.mark.parametrize("lasting", LASTING, ids=lambda lasting: lasting[0])
async def test_a_condition_is_told_when_it_begins_hourly_and_when_it_is_over(
    clock: Clockwork, receiver: Receiver, lasting: Lasting, monkeypatch: pytest.MonkeyPatch
) -> None:
    event, begin, finish, begun, over = lasting
    monkeypatch.setattr(notifier, "RECENT_SECONDS", 3 * HOUR)
    before = counted(event, 1, "sent")
    teller = Teller(clock, f"{event}={receiver.url}")
    await teller.rounds(60)
    for act, title in ((begin, begun), (finish, over)):
        act(clock)
        await teller.rounds(30)
        assert receiver.taken() == [], "it may not last"
        await teller.rounds(60)
        assert receiver.taken() == [title]
        await teller.rounds(HOUR)
        assert receiver.taken() == ([begun] if act is begin else []), "once an hour"
    assert "More: `runqueue " in receiver.bodies[-1]
    assert "https://queue.test/" in receiver.bodies[-1]
    assert counted(event, 1, "sent") == before + 3
    assert known(clock) == ["lease"], "nothing is left of it"


async def test_failures_are_over_only_if_jobs_of_the_group_show_it(
    clock: Clockwork, receiver: Receiver
) -> None:
    teller = Teller(clock, f"failures={receiver.url}")
    end(0, 4)(clock)
    await teller.rounds(60)
    clock.heartbeat(first=True)
    clock.enqueue(210, group="busy")
    clock.end_all(*["completed"] * 210)
    await teller.rounds(HOUR - 120)
    assert receiver.taken() == ["many jobs fail"], "none of the group is among the last"
    await teller.rounds(120)
    assert receiver.taken() == ["fewer jobs fail"], "none of it ended within the hour"


async def test_a_batch_is_told_once_when_it_is_over(clock: Clockwork, receiver: Receiver) -> None:
    clock.batch_of(1)
    clock.end_all("completed")
    teller = Teller(clock, f"batch_over={receiver.url}")
    late, jobs = clock.batch_of(2)
    clock.wait(60)
    await teller.round()
    assert receiver.taken() == [], "one was over before, one goes on"

    clock.heartbeat(first=True)
    clock.end_all("completed", "failed")
    clock.wait(HOUR)  # while no worker lives
    await teller.round()
    assert receiver.taken() == ["batch over"]
    assert f"batch {late}: 2 jobs ended, 1 of them failed or are dead" in receiver.bodies[-1]
    await teller.rounds(60)
    assert receiver.taken() == []
    assert clock.members("batch_ends") == []

    clock.run(operator_calls.replay("default", clock.seen(jobs[1])))
    clock.heartbeat(first=True)
    clock.end_all("completed")
    await teller.round()
    assert receiver.taken() == ["batch over"], "it went on, and is over again"


async def test_a_batch_is_told_when_it_is_aborted_and_when_it_is_over(
    clock: Clockwork, receiver: Receiver
) -> None:
    teller = Teller(clock, f"batch_over,batch_aborted={receiver.url}")
    await teller.round()
    clock.batch_of(6, BatchRules(abort_at_failure_ratio=0.5, abort_after=2))
    clock.heartbeat(first=True)
    *bad, last = clock.claim(3).items
    clock.accept([*bad, last])
    for item in bad:
        clock.finish(item.job_id, state="failed")
    await teller.rounds(30)
    assert receiver.taken() == ["batch aborted"]
    clock.finish(last.job_id)
    await teller.rounds(30)
    assert receiver.taken() == ["batch over"]


async def test_what_happens_to_a_schedule_is_told_once(
    clock: Clockwork, receiver: Receiver
) -> None:
    teller = Teller(clock, f"schedule_missed,schedule_paused={receiver.url}")
    await teller.round()
    schedule = Schedule(ScheduleSpec("nightly", cron="0 2 * * *"), "default", 0, "", 0)
    said = [
        "schedule_missed:nightly 20300131T020000Z: no worker was there in time",
        "schedule_failed:nightly 20300131T020000Z: which nobody asked for",
    ]
    clock.run(calls.write_schedule(None, schedule, notices=said))
    await teller.rounds(60)
    assert receiver.taken() == ["firing missed"]
    words = "schedule nightly 20300131T020000Z: no worker was there in time"
    assert words in receiver.bodies[-1]
    assert "runqueue schedules list --account default" in receiver.bodies[-1]
    assert clock.members("batch_ends") == []


async def test_ends_of_batches_are_kept_only_where_somebody_reads_them(clock: Clockwork) -> None:
    clock.batch_of(1)
    clock.end_all("completed")
    assert clock.members("batch_ends") == []
    teller = Teller(clock, "budget_80=json://x/")
    await teller.round()
    clock.client.zadd(clock.key("batch_ends"), {f"batch_over:b{n}": n for n in range(1100)})
    clock.batch_of(1)
    clock.end_all("completed")
    assert len(clock.members("batch_ends")) == 1000
    for name in ("notices", "batch_ends"):
        lasts: Any = clock.client.pttl(clock.key(name))
        assert 0 < lasts <= DAY // 1000, "old news when a URL comes back"
    await teller.round()
    assert clock.members("batch_ends") == [], "no URL wants them"


async def test_what_no_url_took_is_tried_again_after_a_minute_and_then_ever_later(
    clock: Clockwork, receiver: Receiver
) -> None:
    teller = Teller(clock, f"batch_over,budget_spent={receiver.url}")
    spend(100)(clock)
    receiver.status = 500
    await teller.rounds(60)
    receiver.status = 200
    await teller.rounds(60)
    assert receiver.taken() == ["budget spent"], "the first"
    spend(1)(clock)
    clock.heartbeat(first=True)
    clock.batch_of(1)
    clock.end_all("completed")
    receiver.status, receiver.came = 500, 0
    await teller.rounds(8 * HOUR)
    assert receiver.came == 2 * 13 * sending.TRIES, "after 1, 2, 4, 8, 16, 32 minutes, then hourly"
    receiver.status = 200
    await teller.rounds(HOUR)
    assert sorted(receiver.taken()) == ["batch over", "budget is left"]
    assert known(clock) == ["lease"]


async def test_a_round_without_news_writes_nothing(clock: Clockwork, receiver: Receiver) -> None:
    spend(80)(clock)
    teller = Teller(clock, receiver.url)
    await teller.rounds(60)
    teller.calls.clear()
    await teller.round(15)
    names = [call.script.name for call in teller.calls]
    assert names == ["notices", "budget_scopes", "list_budgets", "stats"]
    assert not any(map(records, teller.calls))


async def test_notifications_go_on_after_the_clock_steps_back(
    clock: Clockwork, receiver: Receiver
) -> None:
    teller = Teller(clock, f"budget_80,budget_spent={receiver.url}")
    clock.now += DAY
    spend(100)(clock)
    await teller.round()
    clock.now -= DAY
    await teller.rounds(60)
    assert sorted(receiver.taken()) == ["budget at 80 %", "budget spent"]
    clock.now -= DAY
    await teller.rounds(HOUR)
    assert receiver.taken() == ["budget spent"], "an hourly one, and none of its 80 %"


@pytest.mark.parametrize("event", EVENTS.values())
def test_the_command_that_shows_more_is_one(event: Event) -> None:
    command = get_command(app)
    *words, _ = [*event.command.format("acme").split(), ""]
    for word in words:
        if word in getattr(command, "commands", {}):
            command = command.commands[word]  # type: ignore[attr-defined]
    known = {one for param in command.params for one in param.opts}
    assert not getattr(command, "commands", {})
    assert {word for word in words if word.startswith("--")} <= known


async def test_what_is_kept_is_bounded(clock: Clockwork, receiver: Receiver) -> None:
    clock.client.zadd(clock.key("paused"), {f"j{n}": clock.now for n in range(1500)})
    await Teller(clock, f"needs_person={receiver.url}").rounds(60)
    assert receiver.taken() == ["run needs a person (1,000 of them)"]
    assert "- and 980 more" in receiver.bodies[-1].splitlines()
    assert len(known(clock)) == 1001


async def test_each_url_gets_its_events(clock: Clockwork, receiver: Receiver) -> None:
    async with receiving() as other:
        urls = f"budget_80,budget_spent={receiver.url}\n budget_80,unconfirmed={other.url}"
        spend(100)(clock)
        add("unconfirmed", 601)(clock)
        await Teller(clock, urls).rounds(60)
        assert sorted(receiver.taken()) == ["budget at 80 %", "budget spent"]
        assert sorted(other.taken()) == ["budget at 80 %", "jobs unconfirmed"]


async def test_one_process_tells_at_a_time_and_the_next_goes_on(
    clock: Clockwork, receiver: Receiver
) -> None:
    urls = f"budget_spent={receiver.url}"
    first, second = Teller(clock, urls), Teller(clock, urls)
    spend(100)(clock)
    for _ in range(4):
        await asyncio.gather(first.round(15), second.round())
    assert receiver.taken() == ["budget spent"]
    await second.round(46)
    await first.round()
    assert receiver.taken() == [], "it was told"
    spend(1)(clock)
    for _ in range(4):
        await asyncio.gather(first.round(15), second.round())
    assert receiver.taken() == ["budget is left"]


@pytest.mark.parametrize("lasting", LASTING, ids=lambda lasting: lasting[0])
async def test_of_a_process_killed_between_send_and_record_one_more_comes(
    clock: Clockwork, receiver: Receiver, redis_url: str, lasting: Lasting
) -> None:
    event, begin, finish, begun, over = lasting
    urls = f"{event}={receiver.url}"
    for act, title in ((begin, begun), (finish, over)):
        act(clock)
        await send_and_be_killed(clock, redis_url, urls)
        assert receiver.taken() == [title]
        clock.wait(30)  # as late as the process was

        clock.wait(notifier.LEASE_SECONDS - 1)
        await Teller(clock, urls).round()
        assert receiver.taken() == [], "the lease of the dead one holds"
        clock.wait(16)
        await Teller(clock, urls).rounds(120)
        assert receiver.taken() == [title], "one more, and no other"
        clock.wait(notifier.LEASE_SECONDS)


async def test_of_a_process_killed_after_it_sent_the_end_of_a_batch_one_more_comes(
    clock: Clockwork, receiver: Receiver, redis_url: str
) -> None:
    urls = f"batch_over={receiver.url}"
    await Teller(clock, urls).round()
    clock.batch_of(1)
    clock.heartbeat(first=True)
    clock.end_all("completed")
    clock.wait(notifier.LEASE_SECONDS)
    await send_and_be_killed(clock, redis_url, urls)
    assert receiver.taken() == ["batch over"]
    clock.wait(30 + notifier.LEASE_SECONDS)
    await Teller(clock, urls).rounds(120)
    assert receiver.taken() == ["batch over"]


async def test_a_record_waits_until_redis_is_back(
    clock: Clockwork, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    spend(80)(clock)
    teller = Teller(clock, receiver.url)
    real, failures = teller.notifier._send, [ConnectionError("away")]

    async def send(call: Any) -> Any:
        if failures and records(call):
            raise failures.pop()
        return await real(call)

    monkeypatch.setattr(teller.notifier, "_send", send)
    await teller.rounds(90)
    assert (receiver.taken(), failures) == (["budget at 80 %"], [])


async def test_a_process_without_the_lease_records_nothing(
    clock: Clockwork, receiver: Receiver
) -> None:
    spend(80)(clock)
    frozen = Teller(clock, receiver.url)
    receiver.answers.clear()
    await frozen.rounds(60, waits=False)
    clock.wait(notifier.LEASE_SECONDS)
    await Teller(clock, receiver.url).round(waits=False)
    receiver.answers.set()
    await asyncio.wait(frozen.under_way)
    assert known(clock) == ["lease"]


async def test_a_receiver_that_hangs_delays_no_other(
    clock: Clockwork, receiver: Receiver, logged: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier, "SEND_SECONDS", 3.0)
    async with receiving() as hung:
        hung.answers.clear()
        teller = Teller(clock, f"{hung.url} {receiver.url}")
        spend(80)(clock)
        await teller.rounds(60, waits=False)
        for act in (add("unconfirmed", 601), add("paused")):
            act(clock)
            await teller.rounds(60, waits=False)
        await eventually(lambda: len(receiver.titles) == 3)
        told = sorted(receiver.taken())
        assert told == ["budget at 80 %", "jobs unconfirmed", "run needs a person"]
        spend(1)(clock)
        await teller.rounds(60, waits=False)
        assert len(teller.under_way) == 3, "it is over while it is being sent"
        await asyncio.wait(teller.under_way)
        assert "no answer within 3 s" in str(logged)
        assert SECRET not in str(logged)

        await teller.rounds(60)
        assert receiver.taken() == ["budget below 80 % again"]
        assert "an earlier message still hangs" in str(logged)


async def test_a_receiver_that_fails_is_tried_again_and_then_after_an_hour(
    clock: Clockwork, receiver: Receiver, logged: list[Any]
) -> None:
    receiver.status = 503
    before = counted("budget_80", 1, "failed")
    async with receiving() as other:
        teller = Teller(clock, f"budget_80={receiver.url} {other.url}")
        spend(80)(clock)
        await teller.rounds(90)
        assert (receiver.came, other.taken()) == (sending.TRIES, ["budget at 80 %"])
        assert counted("budget_80", 1, "failed") == before + 1
        line = next(one for one in logged if one["event"] == "notification_failed")
        assert (line["notify_url"], line["about"], line["why"]) == (
            *(1, "budget_80"),
            "the receiver answered HTTP 503",
        )
        assert SECRET not in str(logged)
        receiver.status = 200
        clock.heartbeat(first=True)
        await teller.round(HOUR)
        assert receiver.taken() == other.taken() == ["budget at 80 %"]


async def test_without_urls_nothing_runs(clock: Clockwork) -> None:
    teller = Teller(clock, "")
    teller.notifier.start()
    await asyncio.sleep(0)
    await teller.notifier.stop()
    assert teller.calls == []
