"""Recording in groups: what goes out together, when capacity is free, and that nothing is lost."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import redis
from redis.exceptions import ResponseError

from lab.valkeys import start_valkey
from runqueue.records.claim_items import ClaimAnswer, Taken
from runqueue.store.async_sending import run_async
from runqueue.store.keys import Keys
from runqueue.store.scripts import ScriptCall, load
from tests.simulator.simulating import eventually
from tests.worker.working import Work, start, working, wrap_send
from worker.process import writers as module
from worker.process.writers import BatchWriter, Write
from worker.stages.consumer import Consumer


class Server:
    """Takes groups of items; holds or refuses them as it is told."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.open = asyncio.Event()
        self.open.set()
        #: Set once a group is on its way.
        self.asked = asyncio.Event()
        self.errors: list[Exception] = []

    def call(self, items: Sequence[int]) -> ScriptCall[Any]:
        return ScriptCall(load("finish"), "default", list(items), list)

    async def send(self, call: ScriptCall[Any]) -> list[int]:
        self.asked.set()
        await self.open.wait()
        if self.errors:
            raise self.errors.pop(0)
        group = [int(item) for item in call.arguments]
        self.groups.append(group)
        return [1] * len(group)


def noting(recorded: list[int], item: int) -> Any:
    return lambda: recorded.append(item)


def is_busy(writer: BatchWriter[Any]) -> bool:
    """Say whether something is not recorded yet."""
    return writer._task is not None or writer._retry is not None


async def test_what_comes_while_a_script_runs_goes_out_as_one_group() -> None:
    server, recorded = Server(), list[int]()
    recorder = BatchWriter(server.call, server.send)
    server.open.clear()
    recorder.put(0, noting(recorded, 0))
    for _ in range(3):  # the first goes within a turn or two of the loop, alone
        await asyncio.sleep(0)
    for item in range(1, 6):
        recorder.put(item, noting(recorded, item))

    assert recorded == []  # no place is free before its item is recorded
    server.open.set()
    await recorder.settled()

    assert server.groups == [[0], [1, 2, 3, 4, 5]]
    assert recorded == [0, 1, 2, 3, 4, 5]


async def test_a_group_is_never_larger_than_a_script_takes_without_harm() -> None:
    server, recorded = Server(), list[int]()
    recorder = BatchWriter(server.call, server.send)
    for item in range(1_201):
        recorder.put(item, noting(recorded, item))

    await recorder.settled()

    assert [len(group) for group in server.groups] == [200] * 6 + [1]
    assert recorded == list(range(1_201))


async def test_trouble_with_redis_is_outlasted_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch, logged: list[Any]
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.001)
    server, recorded = Server(), list[int]()
    server.errors = [
        redis.exceptions.ConnectionError("refused"),
        redis.exceptions.TimeoutError("slow"),
        redis.exceptions.OutOfMemoryError("full"),
        OSError("reset"),
    ]
    recorder = BatchWriter(server.call, server.send)
    recorder.put(1, noting(recorded, 1))
    recorder.put(2, noting(recorded, 2))

    await recorder.settled()

    assert server.groups == [[1, 2]]
    assert recorded == [1, 2]
    assert [event["event"] for event in logged] == ["record_delayed"] * 4


async def test_settled_waits_for_what_is_taken_and_a_recorder_goes_on_after_it() -> None:
    server, recorded = Server(), list[int]()
    recorder = BatchWriter(server.call, server.send)
    await recorder.settled()  # nothing was ever taken
    server.open.clear()
    recorder.put(1, noting(recorded, 1))
    settled = asyncio.create_task(recorder.settled())
    await server.asked.wait()
    assert not settled.done()

    server.open.set()
    await settled
    recorder.put(2, noting(recorded, 2))
    await recorder.settled()

    assert recorded == [1, 2]


async def test_whoever_asks_is_told_the_items_with_their_replies() -> None:
    server, told = Server(), list[Any]()
    recorder = BatchWriter(
        server.call, server.send, lambda items, codes: told.append((items, codes))
    )
    recorder.put(7, lambda: None)

    await recorder.settled()

    assert told == [([7], [1])]


async def test_a_place_stays_busy_until_redis_has_taken_the_answer(
    client: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_away = asyncio.Event()

    async def around(send: Any, call: Any) -> Any:
        if call.script.name == "mark_running" and not is_away.is_set():
            raise redis.exceptions.ConnectionError("away")
        return await send(call)

    monkeypatch.setattr(module, "FIRST_PAUSE", 0.01)
    async with working(client, redis_url) as bench:
        wrap_send(monkeypatch, bench.account, around)
        # The recorder was given the real one when the account was made.
        monkeypatch.setattr(bench.account.writers.running, "_send", bench.account.send)
        (job_id,) = bench.enqueue()
        consumer = bench.account.consumers["submit"]
        one = asyncio.create_task(bench.one_pass("submit"))
        await bench.arrived()
        assert (bench.job(job_id).state, consumer.busy) == ("submitting", 1)

        is_away.set()
        await one

        assert (bench.job(job_id).state, consumer.busy) == ("running", 0)


async def test_the_same_ends_sent_twice_are_recorded_once(
    client: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[str] = []

    async def lose_the_first_answer(call: ScriptCall[Any]) -> Any:
        reply = await run_async(bench.account._scripts.client, call)
        if not lost:
            lost.append(call.script.name)
            raise redis.exceptions.ConnectionError("cut off")
        return reply

    monkeypatch.setattr(module, "FIRST_PAUSE", 0.001)
    async with working(client, redis_url) as bench:
        await bench.submitted(url="https://shop.test/?sim_seconds=0")
        monkeypatch.setattr(bench.account.writers.finished, "_send", lose_the_first_answer)

        await bench.one_pass("poll")

        assert lost == ["finish"]
        assert bench.stats().totals["ended:completed"] == 1
        assert bench.stats().live == 0


async def test_an_orphan_run_is_told_in_the_log(
    client: redis.Redis, redis_url: str, logged: list[Any]
) -> None:
    async with working(client, redis_url) as bench:
        (job_id,) = bench.enqueue()
        consumer = bench.account.consumers["submit"]
        ((job, process, asked),) = (await consumer.take(1, 0)).items
        client.delete(f"{Keys('default').prefix}job:{job_id}")

        consumer._start((job, process, asked))
        await eventually(lambda: consumer.busy == 0)

        (run,) = await bench.runs()
        told = [event for event in logged if event["event"] == "orphan_run"]
        assert [(event["job_id"], event["run_id"]) for event in told] == [(job_id, run["run_id"])]
        assert bench.stats().orphans == 1


async def test_large_items_go_out_in_groups_of_bounded_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "GROUP_BYTES", 10)
    server = Server()
    recorder = BatchWriter(server.call, server.send, size=lambda item: item)
    for item in (4, 4, 4, 25, 1, 2):
        recorder.put(item, noting([], item))

    await recorder.settled()

    assert server.groups == [[4, 4], [4], [25], [1, 2]]


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the next try follow at once."""
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(module, "LONGEST_PAUSE", 0.001)


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize(
    ("error", "how"),
    [
        (ResponseError("MISCONF Redis is configured to save RDB snapshots."), "delayed"),
        (ResponseError("NOREPLICAS Not enough good replicas to write."), "delayed"),
        (ResponseError("BUSY Redis is busy running a script."), "delayed"),
        (ResponseError("FROZEN what no version says today"), "set_aside"),
        (ResponseError("WRONGTYPE x is a string, expected a zset script: on @y:1."), "set_aside"),
        (ResponseError("user_function:9: attempt to compare nil script: on @y:9."), "set_aside"),
        (RuntimeError("the handler is closed"), "set_aside"),
        (ValueError("invalid literal for int()"), "set_aside"),
    ],
    ids=str,
)
async def test_what_is_refused_for_a_while_is_recorded_when_it_is_taken(
    error: Exception, how: str, logged: list[Any]
) -> None:
    server, recorded = Server(), list[int]()
    # A group of four that is halved is refused seven times.
    server.errors = [error for _ in range(20)]
    recorder = BatchWriter(server.call, server.send)
    for item in range(4):
        recorder.put(item, noting(recorded, item))

    await eventually(lambda: not is_busy(recorder))

    assert sorted(item for group in server.groups for item in group) == [0, 1, 2, 3]
    assert sorted(recorded) == [0, 1, 2, 3]
    assert {told["event"] for told in logged} == {f"record_{how}"}


@pytest.mark.usefixtures("quickly")
async def test_a_group_is_not_halved_while_redis_takes_nothing() -> None:
    server, asked = Server(), list[int]()

    async def send(call: ScriptCall[Any]) -> list[int]:
        asked.append(len(call.arguments))
        return await server.send(call)

    server.errors = [ResponseError("MISCONF") for _ in range(3)]
    recorder = BatchWriter(server.call, send)
    for item in range(8):
        recorder.put(item, noting([], item))

    await recorder.settled()

    assert asked == [8] * 4


@pytest.mark.usefixtures("quickly")
async def test_one_item_that_is_refused_for_an_unknown_reason_waits_while_others_are_recorded(
    logged: list[Any],
) -> None:
    server, recorded, is_refused = Server(), list[int](), True

    async def send(call: ScriptCall[Any]) -> list[int]:
        if is_refused and 3 in call.arguments:
            raise ResponseError("FROZEN item")
        return await server.send(call)

    recorder = BatchWriter(server.call, send)
    for item in range(200):
        recorder.put(item, noting(recorded, item))
    await eventually(lambda: len(recorded) == 200)
    assert 3 not in [item for group in server.groups for item in group]
    assert is_busy(recorder)
    recorder.put(200, noting(recorded, 200))
    await eventually(lambda: server.groups[-1] == [200])

    is_refused = False
    await eventually(lambda: not is_busy(recorder))

    assert server.groups[-1] == [3]
    assert sorted(recorded) == list(range(201))
    assert [event["event"] for event in logged] == ["record_set_aside"]


@pytest.mark.usefixtures("quickly")
async def test_places_stay_busy_beyond_the_records_that_may_be_set_aside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "ASIDE", 2)
    server, recorded = Server(), list[int]()
    server.errors = [ResponseError("FROZEN") for _ in range(1000)]
    recorder = BatchWriter(server.call, server.send)
    for item in range(5):
        recorder.put(item, noting(recorded, item))
    await eventually(lambda: len(server.errors) < 900)
    assert len(recorded) == 2

    server.errors.clear()
    await eventually(lambda: not is_busy(recorder))

    assert sorted(recorded) == [0, 1, 2, 3, 4]
    assert sorted(item for group in server.groups for item in group) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("error", "is_sent", "events"),
    [
        (redis.exceptions.DataError("no bytes"), False, ["record_refused"]),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates"), False, ["record_refused"]),
        (ResponseError("WRONGTYPE"), True, ["record_set_aside", "record_lost"]),
    ],
)
async def test_an_item_that_cannot_be_written_keeps_no_other_from_its_record(
    error: Exception, is_sent: bool, events: list[str], logged: list[Any]
) -> None:
    server, recorded = Server(), list[int]()

    def call(items: Sequence[int]) -> ScriptCall[Any]:
        if 3 in items and not is_sent:
            raise error
        return server.call(items)

    async def send(call: ScriptCall[Any]) -> list[int]:
        if 3 in call.arguments:
            raise error
        return await server.send(call)

    recorder = BatchWriter(call, send)
    for item in range(5):
        recorder.put(item, noting(recorded, item))

    await recorder.settled()

    assert sorted(item for group in server.groups for item in group) == [0, 1, 2, 4]
    assert recorded == [0, 1, 2, 3, 4]
    assert [event["event"] for event in logged] == events


@pytest.mark.usefixtures("quickly")
async def test_an_item_that_is_refused_for_an_unknown_reason_holds_up_no_end_of_the_process(
    logged: list[Any],
) -> None:
    server = Server()

    async def send(call: ScriptCall[Any]) -> list[int]:
        raise ResponseError("FROZEN item")

    recorder = BatchWriter(server.call, send)
    recorder.put(1, noting([], 1))

    await recorder.settled()

    assert not is_busy(recorder)
    assert [event["event"] for event in logged] == ["record_set_aside", "record_lost"]


@pytest.mark.parametrize("words", ["MISCONF", "FROZEN"])
async def test_what_could_not_be_recorded_before_the_process_ends_is_told_in_the_log(
    logged: list[Any], words: str
) -> None:
    server = Server()

    async def send(call: ScriptCall[Any]) -> list[int]:
        if len(call.arguments) > 2:
            raise ResponseError(words)
        return await server.send(call)

    server.open.clear()
    recorder = BatchWriter[Any](
        lambda items: ScriptCall(load("finish"), "default", items, list), send
    )
    for number in range(4):
        recorder.put(SimpleNamespace(job_id=f"j{number}"), lambda: None)
    for _ in range(3):  # the first four are on their way
        await asyncio.sleep(0)
    recorder.put(SimpleNamespace(job_id="j4"), lambda: None)
    task = recorder._task
    assert task is not None

    task.cancel()
    await asyncio.wait([task])

    lost = [event["job_id"] for event in logged if event["event"] == "record_lost"]
    assert sorted(lost) == ["j0", "j1", "j2", "j3", "j4"]


async def test_run_ids_outlast_a_redis_whose_replicas_are_away(
    tmp_path: Path, logged: list[Any]
) -> None:
    own = start_valkey(tmp_path)
    url = f"redis://127.0.0.1:{own.port}/0"
    try:
        with redis.Redis(port=own.port) as client:
            async with working(client, url) as bench:
                job_ids = bench.enqueue(5, on_unconfirmed="resubmit")
                consumer = bench.account.consumers["submit"]
                taken = await consumer.take(100, 0)
                client.config_set("min-replicas-to-write", 1)
                for item in taken.items:
                    consumer._start(item)
                await bench.arrived(5)
                assert {bench.job(job_id).state for job_id in job_ids} == {"submitting"}
                await eventually(lambda: "NOREPLICAS" in _delays(logged))
                client.config_set("min-replicas-to-write", 0)
                await eventually(lambda: consumer.busy == 0)

                runs = {run["run_id"] for run in await bench.runs()}
                assert {bench.job(job_id).run_id for job_id in job_ids} == runs
                assert {bench.job(job_id).state for job_id in job_ids} == {"running"}
    finally:
        own.stop()


async def test_run_ids_outlast_a_damaged_key_until_it_is_mended(
    client: redis.Redis, redis_url: str, logged: list[Any]
) -> None:
    async with working(client, redis_url) as bench:
        job_ids = bench.enqueue(3)
        consumer = bench.account.consumers["submit"]
        taken = await consumer.take(100, 0)
        client.set(f"{Keys('default').prefix}poll", "a typo")
        for item in taken.items:
            consumer._start(item)
        await eventually(lambda: _count(logged, "record_set_aside") == 3)
        # Their places are free, so what waits for the mend keeps no other job from its submission.
        assert consumer.busy == 0

        client.delete(f"{Keys('default').prefix}poll")
        await eventually(lambda: not is_busy(bench.account.writers.running))

        runs = {run["run_id"] for run in await bench.runs()}
        assert {bench.job(job_id).run_id for job_id in job_ids} == runs
        assert {bench.job(job_id).state for job_id in job_ids} == {"running"}
        assert set(client.zrange(f"{Keys('default').prefix}poll", 0, -1)) == {
            job_id.encode() for job_id in job_ids
        }


async def test_ends_outlast_a_redis_that_is_busy_with_a_script(
    tmp_path: Path, logged: list[Any]
) -> None:
    own = start_valkey(tmp_path)
    url = f"redis://127.0.0.1:{own.port}/0"
    try:
        with redis.Redis(port=own.port) as client, redis.Redis(port=own.port) as blocker:
            client.config_set("lua-time-limit", 20)
            async with working(client, url) as bench:
                (job_id,) = await bench.submitted(url="https://shop.test/?sim_seconds=0")
                consumer = bench.account.consumers["poll"]
                taken = await consumer.take(100, 0)
                endless = "while true do redis.call('PING') end"
                task = asyncio.create_task(asyncio.to_thread(_run_until_killed, blocker, endless))
                await eventually(lambda: _is_busy(client))
                for item in taken.items:
                    consumer._start(item)
                await eventually(lambda: "BUSY" in _delays(logged))
                await asyncio.to_thread(client.script_kill)
                await task
                await eventually(lambda: consumer.busy == 0)

                assert bench.job(job_id).state == "completed"
    finally:
        own.stop()


def _delays(logged: list[Any]) -> str:
    """What was told of records that Redis did not take at once."""
    return " ".join(event["error"] for event in logged if event["event"] == "record_delayed")


def _count(logged: list[Any], name: str) -> int:
    return sum(event["event"] == name for event in logged)


def _run_until_killed(client: redis.Redis, source: str) -> None:
    with pytest.raises(redis.ResponseError, match="killed"):
        client.eval(source, 0)


def _is_busy(client: redis.Redis) -> bool:
    try:
        client.ping()
    except redis.ResponseError as error:
        return str(error).startswith("BUSY")
    return False


class Held(BatchWriter[str]):
    """A writer that records an item only when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def put(self, item: str, recorded: Callable[[], None]) -> None:
        """Keep what frees the capacity of an item."""
        assert item == "r"
        self.waiting.append(recorded)


class Stage(Consumer[str]):
    """A stage whose items come to what the test gives it."""

    stage = "test"
    writes: Sequence[Write] = ()
    #: What is logged of each item.
    warning: dict[str, Any] | None = None
    ids: ClassVar[dict[str, Any] | None] = {}

    async def take(self, limit: int, tick_us: int) -> Taken[str]:
        """Take nothing."""
        return Taken(ClaimAnswer.OK, limit + tick_us)

    def about(self, item: str) -> dict[str, Any]:
        """Return the item, or what the test has the log say; a bug if that is None."""
        if self.ids is None:
            raise AttributeError(item)
        return {"job_id": item, **self.ids}

    async def handle(self, item: str) -> Sequence[Write]:
        """Return what was given, or fail."""
        assert item == "j1"
        if self.warning is not None:
            self.warn(item, "poll_failed", **self.warning)
        return self.writes


async def test_every_writer_of_an_account_is_one_of_those_that_a_stop_waits_for(work: Work) -> None:
    async with work() as bench:
        writers = bench.account.writers
        named = [one for one in vars(writers).values() if isinstance(one, BatchWriter)]
        found = [*named, *writers.returned.values()]
        assert len(found) > 15
        assert {id(one) for one in found} == {id(one) for one in writers.all}


@pytest.mark.parametrize("records", [0, 1, 3])
async def test_the_capacity_of_an_item_is_free_once_all_its_records_are_written(
    work: Work, records: int
) -> None:
    async with work() as bench:
        stage, written = Stage(bench.account, 5), Held()
        stage.writes = [(written, "r")] * records
        stage.busy = 1

        await stage.process("j1")

        assert len(written.waiting) == records
        for recorded in written.waiting:
            assert stage.busy == 1
            recorded()
        assert stage.busy == 0


async def test_a_stage_s_warning_names_the_account_and_the_item(
    work: Work, logged: list[Any]
) -> None:
    async with work() as bench:
        stage = Stage(bench.account, 5)
        stage.warning = {"why": "trouble"}

        await stage.process("j1")

        (line,) = [entry for entry in logged if entry["event"] == "poll_failed"]
        assert line.items() >= {"account": "default", "job_id": "j1", "why": "trouble"}.items()


CLASHES = {"event": "e", "account": "a", "stage": "s", "why": "w", "error": "e", "at": "a"}


@pytest.mark.parametrize("ids", [None, CLASHES], ids=["a bug", "names that clash"])
async def test_what_the_log_makes_of_an_item_costs_neither_its_record_nor_its_capacity(
    work: Work, logged: list[Any], monkeypatch: pytest.MonkeyPatch, ids: dict[str, Any] | None
) -> None:
    async with work() as bench:
        stage, written = Stage(bench.account, 5), Held()
        monkeypatch.setattr(Stage, "ids", ids)
        stage.warning = {"account": "x", "event": "x", "job_id": "x", "why": "trouble"}
        stage.writes = [(written, "r")]

        start(stage, "j1")

        await eventually(lambda: not stage._tasks)
        assert stage.busy == len(written.waiting) == 1
        written.waiting[0]()
        assert stage.busy == 0
        event = "item_failed" if ids is None else "poll_failed"
        (line,) = [entry for entry in logged if entry["event"] == event]
        assert line["account"] == "default"
        assert line.get("job_id", "j1") == "j1"
