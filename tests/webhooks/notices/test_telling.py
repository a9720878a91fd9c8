"""What is told when: each event as it begins, lasts and ends, to real receivers."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from typer.main import get_command

from notices import notifier as module
from notices.calls import notices_claim
from notices.policy import EVENTS, OF_ALL_ACCOUNTS, Event
from runqueue.cli.app import app
from runqueue.records.batch import BatchRules
from runqueue.records.job import JobState
from runqueue.store import job_calls, operator_calls
from runqueue.store.budgets import Budget, set_budget
from tests.notices.telling import SECRET, Receiver, Teller, dying, in_the_past, receiving
from tests.runqueue.lua.clockwork import DAY, Clockwork
from tests.simulator.simulating import eventually

HOUR = 3600


def hold(clock: Clockwork) -> None:
    clock.client.hset(
        clock.key("meta"),
        mapping={
            "hold_until": clock.now + DAY * 400,
            "hold_kind": "account",
            "hold_reason": "the key is refused",
            "hold_person": "1",
        },
    )


def release(clock: Clockwork) -> None:
    clock.run(job_calls.resume("default"))


def spend(steps: int) -> "Act":
    def act(clock: Clockwork) -> None:
        clock.run(set_budget("default", "account", Budget(100)))
        clock.client.hset(clock.key("spent:account:0"), "account", steps)

    return act


def unconfirmed(clock: Clockwork) -> None:
    clock.client.zadd(clock.key("unconfirmed"), {"j1": in_the_past(clock, 601)})


def settled(clock: Clockwork) -> None:
    clock.client.delete(clock.key("unconfirmed"))


def wait_for_a_person(clock: Clockwork) -> None:
    clock.client.zadd(clock.key("paused"), {"j1": in_the_past(clock, 5)})


def go_on(clock: Clockwork) -> None:
    clock.client.delete(clock.key("paused"))


def fail(clock: Clockwork) -> None:
    clock.enqueue(4, group="acme")
    clock.end_all("failed", "failed", "failed", "completed")


def end_well(clock: Clockwork) -> None:
    clock.enqueue(5, group="acme")
    clock.end_all(*["completed"] * 5)


Act = Callable[[Clockwork], None]
#: An event, what begins and ends it, and how that is told.
Lasting = tuple[str, Act, Act, str, str]
LASTING: list[Lasting] = [
    ("account_held", hold, release, "the account is held", "the account is free again"),
    (
        "budget_80",
        spend(80),
        spend(70),
        "a budget is spent to 80 %",
        "a budget is below 80 % again",
    ),
    ("budget_spent", spend(101), spend(7), "a budget is spent", "a budget has room again"),
    (
        *("unconfirmed", unconfirmed, settled),
        *("jobs are unconfirmed for long", "no job is unconfirmed for long"),
    ),
    ("needs_person", wait_for_a_person, go_on, "a run needs a person", "a run goes on"),
    ("failures", fail, end_well, "many jobs of a group fail", "jobs of a group end well again"),
]


@pytest.mark.parametrize("lasting", LASTING, ids=lambda lasting: lasting[0])
async def test_a_condition_is_told_when_it_begins_hourly_and_when_it_is_over(
    clock: Clockwork, receiver: Receiver, lasting: Lasting, monkeypatch: pytest.MonkeyPatch
) -> None:
    event, begin, end, begun, over = lasting
    monkeypatch.setattr(module, "RECENT_SECONDS", 3 * HOUR)
    teller = Teller(clock, f"{event}={receiver.url}")
    await teller.rounds(60)
    assert receiver.taken() == []

    begin(clock)
    await teller.rounds(90)
    assert receiver.taken() == [begun]
    assert "More: `runqueue " in receiver.bodies[-1]
    assert "https://queue.test/" in receiver.bodies[-1]
    await teller.rounds(HOUR)
    assert receiver.taken() == [begun], "once an hour"

    end(clock)
    await teller.rounds(90)
    assert receiver.taken() == [over]
    await teller.rounds(120)
    assert receiver.taken() == []
    assert set(teller.counted) == {(event, 1, True)}
    assert not any("sent" in name for name in known(clock)), "nothing is left of it"


def known(clock: Clockwork) -> list[str]:
    found: Any = clock.client.hkeys(clock.key("notices"))
    return [name.decode() for name in found]


async def test_a_gateway_tells_that_no_worker_lives_and_nothing_else(
    clock: Clockwork, receiver: Receiver
) -> None:
    hold(clock)
    teller = Teller(clock, receiver.url, "gateway")
    await teller.rounds(15)
    assert receiver.taken() == []
    await teller.rounds(90)
    assert receiver.taken() == ["no worker serves the account"]
    clock.heartbeat("p2", first=True)
    for _ in range(6):
        await teller.round(14)
        clock.heartbeat("p2")
    assert receiver.taken() == ["a worker serves it again"]


async def test_a_batch_is_told_once_when_it_is_over(clock: Clockwork, receiver: Receiver) -> None:
    clock.batch_of(1)
    clock.end_all("completed")
    teller = Teller(clock, receiver.url)
    late, jobs = clock.batch_of(2)
    clock.wait(60)
    await teller.round()
    assert receiver.taken() == [], "one was over before, one goes on"

    clock.end_all("completed", "failed")
    clock.wait(HOUR)  # while no worker lives
    clock.heartbeat(first=True)
    await teller.round()
    assert receiver.taken() == ["a batch is over"]
    assert f"batch {late}" in receiver.bodies[-1]
    assert "1 completed, 1 failed" in receiver.bodies[-1]
    clock.run(operator_calls.replay("default", clock.seen(jobs[1])))
    clock.heartbeat(first=True)
    clock.end_all("completed")
    await teller.rounds(60)
    assert clock.read(late).states[JobState.COMPLETED] == 2
    assert receiver.taken() == []
    assert clock.members("watched_batches") == []


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
    assert receiver.taken() == ["a batch was aborted"]
    clock.finish(last.job_id)
    await teller.rounds(30)
    assert receiver.taken() == ["a batch is over"]


async def test_a_budget_at_once_spent_is_told_so_and_to_who_wants_only_80_that(
    clock: Clockwork, receiver: Receiver
) -> None:
    async with receiving() as other:
        teller = Teller(clock, f"{receiver.url} budget_80={other.url}")
        for steps in (101, 85, 101, 10):
            spend(steps)(clock)
            await teller.rounds(30)
    assert receiver.taken() == [
        *("a budget is spent", "a budget is spent to 80 %", "a budget has room again"),
        *("a budget is spent", "a budget is below 80 % again", "a budget has room again"),
    ]
    assert other.taken() == ["a budget is spent to 80 %", "a budget is below 80 % again"]


async def test_a_round_without_news_writes_nothing(clock: Clockwork, receiver: Receiver) -> None:
    spend(100)(clock)
    teller = Teller(clock, receiver.url)
    await teller.rounds(30)
    teller.calls.clear()
    await teller.round(15)
    assert teller.calls == ["notices_claim", "stats", "budget_scopes", "list_budgets"]


@pytest.mark.parametrize("event", EVENTS.values())
def test_the_command_that_shows_more_is_one(event: Event) -> None:
    command = get_command(app)
    _, *words = event.command.split()
    options = [] if event.command in OF_ALL_ACCOUNTS else ["--account"]
    for word in words:
        if word in getattr(command, "commands", {}):
            command = command.commands[word]  # type: ignore[attr-defined]
        elif word.startswith("--"):
            options.append(word)
    known = {one for param in command.params for one in param.opts}
    assert not getattr(command, "commands", {})
    assert set(options) <= known


async def test_fifty_budgets_at_once_are_one_message(clock: Clockwork, receiver: Receiver) -> None:
    for n in range(50):
        clock.run(set_budget("default", f"group:g{n}", Budget(10)))
        clock.client.hset(clock.key(f"spent:group:g{n}:0"), f"group:g{n}", 10)
    await Teller(clock, receiver.url).round()
    assert receiver.taken() == ["a budget is spent (50 of them)"]
    lines = receiver.bodies[-1].splitlines()
    assert sum(line.startswith("- group:g") for line in lines) == 20
    assert "- and 30 more" in lines


async def test_what_is_kept_is_bounded(clock: Clockwork, receiver: Receiver) -> None:
    clock.client.zadd(clock.key("paused"), {f"j{n}": clock.now for n in range(1500)})
    clock.client.hset(clock.key("notices"), mapping={f"failures:g{n}": "1 0" for n in range(20)})
    await Teller(clock, receiver.url).round()
    assert receiver.taken() == ["a run needs a person (1,000 of them)"]
    assert sum(name.startswith("needs_person:") for name in known(clock)) == 980


async def test_each_url_gets_its_events(clock: Clockwork, receiver: Receiver) -> None:
    async with receiving() as other:
        teller = Teller(clock, f"budget_spent={receiver.url}\n unconfirmed={other.url}")
        spend(100)(clock)
        unconfirmed(clock)
        await teller.round()
        assert receiver.taken() == ["a budget is spent"]
        assert other.taken() == ["jobs are unconfirmed for long"]


async def test_one_process_tells_at_a_time_and_the_next_goes_on(
    clock: Clockwork, receiver: Receiver
) -> None:
    first, second = Teller(clock, receiver.url), Teller(clock, receiver.url)
    spend(100)(clock)
    await asyncio.gather(first.round(), second.round())
    assert receiver.taken() == ["a budget is spent"]
    await second.round(46)
    await first.round()
    assert receiver.taken() == [], "it was told"
    spend(1)(clock)
    await asyncio.gather(first.round(15), second.round())
    assert receiver.taken() == ["a budget has room again"]


@pytest.mark.parametrize("lasting", LASTING, ids=lambda lasting: lasting[0])
async def test_of_a_process_killed_between_send_and_record_one_more_comes(
    clock: Clockwork, receiver: Receiver, redis_url: str, lasting: Lasting
) -> None:
    event, begin, end, begun, over = lasting
    urls = f"{event}={receiver.url}"
    for act, title in ((begin, begun), (end, over)):
        act(clock)
        if EVENTS[event].settle:
            await Teller(clock, urls).round()
            clock.wait(EVENTS[event].settle + module.LEASE_SECONDS)
        async with dying(clock, redis_url, urls) as process:
            assert process.stdout is not None
            assert await asyncio.wait_for(process.stdout.readline(), 30) == b"sent\n"
        assert receiver.taken() == [title]

        clock.wait(module.LEASE_SECONDS - 1)
        await Teller(clock, urls).round()
        assert receiver.taken() == [], "the lease of the dead one holds"
        clock.wait(1)
        await Teller(clock, urls).rounds(60)
        assert receiver.taken() == [title], "one more, and no other"
        clock.wait(module.LEASE_SECONDS)


async def test_a_record_waits_until_redis_is_back(
    clock: Clockwork, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    spend(100)(clock)
    teller = Teller(clock, receiver.url)
    real, failures = teller.notifier._send, [ConnectionError("away"), TimeoutError("slow")]

    async def send(call: Any) -> Any:
        if failures and "sent:" in str(call.arguments):
            raise failures.pop()
        return await real(call)

    monkeypatch.setattr(teller.notifier, "_send", send)
    await teller.round()
    await teller.rounds(30)
    assert (receiver.taken(), failures) == (["a budget is spent"], [])


async def test_a_process_without_the_lease_records_nothing(
    clock: Clockwork, receiver: Receiver
) -> None:
    spend(100)(clock)
    frozen = Teller(clock, receiver.url)
    receiver.answers.clear()
    await frozen.notifier.round()
    clock.wait(module.LEASE_SECONDS)
    times = [45_000_000, 1, 1]
    assert clock.run(notices_claim("default", "worker", "another", times)).held_until_us == 0
    receiver.answers.set()
    await asyncio.wait(frozen.under_way)
    assert not any(name.startswith("sent:") for name in known(clock))


async def test_a_receiver_that_hangs_delays_no_other(clock: Clockwork, receiver: Receiver) -> None:
    async with receiving() as hung:
        hung.answers.clear()
        teller = Teller(clock, f"{hung.url} {receiver.url}")
        spend(100)(clock)
        await teller.notifier.round()
        await eventually(lambda: len(teller.under_way) == 1)
        for begin, end in ((unconfirmed, settled), (wait_for_a_person, go_on)):
            for act in (begin, end):
                act(clock)
                clock.wait(15)
                await teller.notifier.round()
                await eventually(lambda: len(teller.under_way) == 1)
        assert receiver.taken() == [
            "a budget is spent",
            "jobs are unconfirmed for long",
            "no job is unconfirmed for long",
            "a run needs a person",
            "a run goes on",
        ]
        assert hung.came == 1, "one thread at a time"
        hung.answers.set()
        await asyncio.wait(teller.under_way)
        await teller.round(15)
        assert hung.taken() == ["a budget is spent"], "a late answer counts: it is not sent again"


async def test_what_is_over_while_it_is_being_sent_is_told_to_be_over(
    clock: Clockwork, receiver: Receiver
) -> None:
    receiver.answers.clear()
    teller = Teller(clock, receiver.url)
    spend(100)(clock)
    await teller.notifier.round()
    spend(1)(clock)
    clock.wait(15)
    await teller.notifier.round()
    receiver.answers.set()
    await asyncio.wait(teller.under_way)
    await teller.rounds(45)
    assert receiver.taken() == ["a budget is spent", "a budget has room again"]
    assert not any("budget" in name for name in known(clock)), "nothing is left of it"


async def test_a_receiver_that_hangs_is_seen(
    clock: Clockwork, receiver: Receiver, logged: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEND_SECONDS", 0.05)
    receiver.answers.clear()
    teller = Teller(clock, receiver.url)
    spend(100)(clock)
    await teller.notifier.round()
    await eventually(lambda: ("budget_spent", 1, False) in teller.counted)
    assert "no answer within" in logged[-1]["why"]
    assert SECRET not in str(logged)


async def test_a_receiver_that_fails_is_tried_again_ever_more_rarely(
    clock: Clockwork, receiver: Receiver, logged: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.status = 503
    teller = Teller(clock, receiver.url)
    spend(100)(clock)
    await teller.round()
    await teller.round(15)
    assert receiver.came == 1, "it pauses"
    assert teller.notifier._pauses[1][0] == module.FIRST_PAUSE
    line = logged[-1]
    assert (line["event"], line["notify_url"], line["about"], line["why"]) == (
        *("notification_failed", 1, "budget_spent"),
        "the receiver answered HTTP 503",
    )
    assert SECRET not in str(logged)
    for _ in range(9):
        teller.notifier._pauses[1] = (teller.notifier._pauses[1][0], 0.0)
        await teller.round(15)
    assert receiver.came == 10
    assert teller.notifier._pauses[1][0] == module.LONGEST_PAUSE
    receiver.status = 200
    teller.notifier._pauses.clear()
    await teller.round(15)
    assert receiver.taken() == ["a budget is spent"]


async def test_what_could_not_be_told_in_a_day_is_given_up(
    clock: Clockwork, receiver: Receiver
) -> None:
    receiver.status = 500
    teller = Teller(clock, receiver.url)
    await teller.round()
    clock.batch_of(1)
    clock.end_all("completed")
    await teller.round(15)
    clock.wait(86_401)
    clock.heartbeat(first=True)
    receiver.status = 200
    teller.notifier._pauses.clear()
    await teller.rounds(30)
    assert receiver.taken() == []
    assert clock.members("watched_batches") == []


async def test_without_urls_nothing_runs(clock: Clockwork) -> None:
    teller = Teller(clock, "")
    teller.notifier.start()
    await asyncio.sleep(0)
    await teller.notifier.stop()
    assert teller.calls == []
