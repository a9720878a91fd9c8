"""What a producer's Celery message brings: all that is valid is in the queue, and nothing twice."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import redis

from runqueue import JobState, RunQueue, ids
from runqueue.records.account import AccountStats
from runqueue.store.keys import ACCOUNTS, Keys
from tests.worker.working import closed_port
from worker import celery_intake as module
from worker.celery_intake import Intake, NotNow

GOOD: dict[str, Any] = {"kind": "task", "body": {"prompt": "Read it."}}


@pytest.fixture
def stopping() -> threading.Event:
    return threading.Event()


@pytest.fixture
def intake(redis_url: str, stopping: threading.Event) -> Iterator[Intake]:
    one = Intake(redis_url, stopping)
    yield one
    one.close()


def refused(client: redis.Redis, account: str = "default") -> list[dict[str, Any]]:
    entries: Any = client.lrange(f"{Keys(account).prefix}inbox:invalid", 0, -1)
    return [json.loads(entry) for entry in entries]


def stats(queue: RunQueue) -> AccountStats:
    return queue.stats()["default"]


def test_lines_are_objects_or_text(intake: Intake, queue: RunQueue) -> None:
    intake.accept("t1", [[GOOD, json.dumps(GOOD), {**GOOD, "custom_id": "a"}]], {})
    assert stats(queue).states[JobState.READY] == 3


def test_lines_have_metadata_of_their_own(intake: Intake, queue: RunQueue) -> None:
    intake.accept("t1", [{**GOOD, "custom_id": "a", "metadata": {"order": "17"}}], {})
    assert queue.get(ids.job_id_for("default", "", "a")).metadata == {"order": "17"}


def test_lines_go_on_with_the_trace_of_their_message_unless_they_name_their_own(
    intake: Intake, queue: RunQueue
) -> None:
    of_the_message = f"00-{'a' * 32}-{'b' * 16}-01"
    of_the_line = f"00-{'c' * 32}-{'d' * 16}-01"
    intake.accept("t1", [[GOOD, {**GOOD, "traceparent": of_the_line}]], {}, of_the_message)

    ids_ = [ids.job_id_for("default", "celery", f"t1-{n}") for n in range(2)]
    assert [queue.get(id_).traceparent for id_ in ids_] == [of_the_message, of_the_line]


@pytest.mark.parametrize("eta", ["2040-01-02T03:04:05+00:00", "2040-01-02T03:04:05"])
def test_lines_without_a_time_of_their_own_wait_for_that_of_their_message(
    intake: Intake, queue: RunQueue, eta: str
) -> None:
    own = {**GOOD, "run_at": "2039-01-01T00:00:00+00:00"}
    texts = [json.dumps(line) for line in (GOOD, {**GOOD, "run_at": None}, own)]

    intake.accept("t1", [[GOOD, own, {**GOOD, "delay": 60}, *texts]], {}, run_at=eta)

    jobs = [queue.get(ids.job_id_for("default", "celery", f"t1-{n}")) for n in range(6)]
    assert {job.state for job in jobs} == {JobState.SCHEDULED}
    years = [job.run_at.year if job.run_at else None for job in jobs]
    assert years == [2040, 2039, datetime.now(UTC).year, 2040, 2040, 2039]
    assert jobs[0].run_at == jobs[3].run_at == datetime(2040, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_lines_of_a_message_whose_time_is_past_may_run_at_once(
    intake: Intake, queue: RunQueue
) -> None:
    intake.accept("t1", [[GOOD]], {}, run_at="2020-01-02T03:04:05+00:00")
    assert stats(queue).states[JobState.READY] == 1


@pytest.mark.parametrize("eta", ["tomorrow", 5])
def test_lines_of_a_message_whose_time_cannot_be_read_are_kept_with_that_reason(
    intake: Intake, queue: RunQueue, client: redis.Redis, eta: object
) -> None:
    own = {**GOOD, "run_at": "2039-01-01T00:00:00+00:00"}

    intake.accept("t1", [[GOOD, own]], {}, run_at=eta)

    (entry,) = refused(client)
    assert [fault["field"] for fault in entry["error"]] == ["run_at"]
    assert stats(queue).totals["enqueued"] == 1


def test_text_that_is_no_line_is_kept_as_it_came_whatever_the_time_of_its_message(
    intake: Intake, client: redis.Redis
) -> None:
    intake.accept("t1", [["{", "{}", "[1]", 7]], {}, run_at="2040-01-02T03:04:05+00:00")
    assert [entry["line"] for entry in refused(client)] == ["{", "{}", "[1]", "7"]


def test_a_message_that_comes_twice_makes_no_second_job(intake: Intake, queue: RunQueue) -> None:
    for _ in range(2):
        intake.accept("t1", [[GOOD] * 1500], {})
    assert stats(queue).totals["enqueued"] == 1500


def test_invalid_lines_are_kept_and_the_others_accepted(
    intake: Intake, queue: RunQueue, client: redis.Redis, logged: list[Any]
) -> None:
    intake.accept("t1", [[GOOD, {"kind": "task", "body": {"password": "hunter2"}}, "x"]], {})

    assert stats(queue).totals == {"enqueued": 1, "invalid_lines": 2}
    first, second = refused(client)
    assert (first["key"], second["key"]) == ("t1-1", "t1-2")
    assert [fault["field"] for fault in second["error"]] == ["line"]
    assert "hunter2" not in str(logged)


def test_an_unknown_account_is_refused_and_a_known_one_is_served(
    intake: Intake, queue: RunQueue, client: redis.Redis
) -> None:
    client.sadd(ACCOUNTS, "acme")
    lines = [{**GOOD, "account": "acme"}, {**GOOD, "account": "nobody"}]

    intake.accept("t1", [[*lines, {"account": "acme", "kind": "task"}]], {})

    assert queue.stats()["acme"].totals == {"enqueued": 1, "invalid_lines": 1}
    (entry,) = refused(client)
    said = "unknown account 'nobody'"
    assert entry["error"] == [{"field": "account", "message": said}]


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ([], {}),
        ([[GOOD], [GOOD]], {}),
        ([], {"jobs": [GOOD]}),
        ([5], {}),
        ([None], {}),
        ([[GOOD]], {"lines": [GOOD]}),
    ],
)
def test_arguments_that_are_no_list_of_lines_are_kept_as_one_line(
    intake: Intake, queue: RunQueue, client: redis.Redis, args: list[Any], kwargs: dict[str, Any]
) -> None:
    intake.accept("t1", args, kwargs)
    assert len(refused(client)) == 1
    assert "enqueued" not in stats(queue).totals


@pytest.mark.parametrize(("args", "kwargs"), [([GOOD], {}), ([], {"lines": [GOOD]})])
def test_a_single_line_and_a_named_argument_are_understood(
    intake: Intake, queue: RunQueue, args: list[Any], kwargs: dict[str, Any]
) -> None:
    intake.accept("t1", args, kwargs)
    assert stats(queue).totals == {"enqueued": 1}


def test_a_full_queue_is_waited_for(
    intake: Intake, queue: RunQueue, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.01)
    client.config_set("maxmemory", 1)
    threading.Timer(0.3, client.config_set, ("maxmemory", 0)).start()

    intake.accept("t1", [[GOOD]], {})

    assert stats(queue).totals == {"enqueued": 1}


def test_a_queue_that_stays_away_gives_the_message_back_after_a_while(
    monkeypatch: pytest.MonkeyPatch, stopping: threading.Event, logged: list[Any]
) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.1)
    away = Intake(f"redis://127.0.0.1:{closed_port()}/0", stopping)

    with pytest.raises(NotNow):
        away.accept("t1", [[GOOD]], {})

    assert 2 <= len(logged) <= 4, "tried again, without haste"
    away.close()


def test_a_worker_that_stops_gives_the_message_back_at_once(
    intake: Intake, queue: RunQueue, stopping: threading.Event
) -> None:
    stopping.set()
    with pytest.raises(NotNow):
        intake.accept("t1", [[GOOD]], {})
    assert stats(queue).totals == {}


def test_lines_of_an_account_with_damaged_keys_keep_no_other_line_waiting(
    intake: Intake, queue: RunQueue, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.01)
    client.sadd(ACCOUNTS, "shop")
    client.set(Keys("shop").meta, "a typo")

    with pytest.raises(NotNow):
        intake.accept("t1", [[{**GOOD, "account": "shop"}, GOOD]], {})
    assert stats(queue).totals["enqueued"] == 1

    client.delete(Keys("shop").meta)
    intake.accept("t1", [[{**GOOD, "account": "shop"}, GOOD]], {})
    assert [queue.stats()[name].totals["enqueued"] for name in ("default", "shop")] == [1, 1]


def test_lines_of_an_account_at_its_quota_keep_no_other_line_waiting(
    intake: Intake, queue: RunQueue, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.01)
    client.sadd(ACCOUNTS, "shop")
    queue.set_limits({"waiting_jobs": 3}, "shop")

    for _ in range(2):
        with pytest.raises(NotNow):
            intake.accept("t1", [[{**GOOD, "account": "shop"}] * 5 + [GOOD]], {})
        ready = [queue.stats()[name].states[JobState.READY] for name in ("default", "shop")]
        assert ready == [1, 3], "as many as may wait"

    queue.set_limits({"waiting_jobs": 0}, "shop")
    intake.accept("t1", [[{**GOOD, "account": "shop"}] * 5 + [GOOD]], {})
    assert [queue.stats()[name].totals["enqueued"] for name in ("default", "shop")] == [1, 5]


class Waits(threading.Event):
    """Is never set, and notes how long it was waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds.append(timeout or 0.0)
        return False


def test_a_message_for_damaged_keys_is_waited_over_once_all_others_had_their_turn(
    client: redis.Redis, redis_url: str
) -> None:
    client.sadd(ACCOUNTS, "shop")
    client.set(Keys("shop").meta, "a typo")
    waits = Waits()
    intake = Intake(redis_url, waits)

    for _ in range(3):  # the broker's list from one end to the other
        for number in range(4):
            with pytest.raises(NotNow):
                intake.accept(f"t{number}", [[{**GOOD, "account": "shop"}]], {})

    first, *others = [waits.seconds[start : start + 4] for start in (0, 4, 8)]
    assert first == [module.PASSING_SECONDS] * 4
    assert others == [[module.PAUSE_SECONDS, *first[1:]]] * 2
    intake.close()


def test_no_more_messages_for_damaged_keys_are_remembered_than_a_process_has_room_for(
    client: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_PASSED", 3)
    client.sadd(ACCOUNTS, "shop")
    client.set(Keys("shop").meta, "a typo")
    intake = Intake(redis_url, Waits())

    for number in range(10):
        with pytest.raises(NotNow):
            intake.accept(f"t{number}", [[{**GOOD, "account": "shop"}]], {})

    assert len(intake._passed) <= 3
    intake.close()


@pytest.mark.parametrize("task_id", ["x" * 20_000, "a\nforged line", "\u202egnp.exe"])
def test_a_task_id_of_any_length_is_called_in_logs_what_its_jobs_are(
    intake: Intake, client: redis.Redis, logged: list[Any], task_id: str
) -> None:
    intake.accept(task_id, [["x"]], {})

    ((said),) = [line["task_id"] for line in logged if line["event"] == "lines_refused"]
    (kept,) = refused(client)
    assert kept["key"] == f"{said}-0"
    assert len(said) <= 200
    assert said.isprintable()
