"""What people see: a job's life, who did what, which processes there are, which lines are long."""

from __future__ import annotations

from runqueue.records.claim_items import RunAgain
from runqueue.store import audit, live_processes, operator_calls, worker_calls
from runqueue.store.history import JobHistory, read_history
from tests.runqueue.lua.clockwork import Clockwork


def history(clock: Clockwork, job: str) -> JobHistory:
    found = clock.run(read_history(clock.account, job))
    assert found is not None
    return found


def told(clock: Clockwork, job: str) -> list[str]:
    """The steps that lie behind a job, each in a word."""
    return [step.what.partition(":")[0] for step in history(clock, job).steps if not step.ahead]


def test_a_common_life_is_told_by_the_record_alone(clock: Clockwork) -> None:
    (job,) = clock.enqueue(1)
    clock.wait(1)
    clock.heartbeat(first=True)
    (claimed,) = clock.claim().items
    clock.wait(1)
    clock.accept([claimed])
    clock.wait(5)
    clock.finish(job)
    steps = history(clock, job).steps
    assert [step.what.partition(":")[0] for step in steps] == [
        *("created", "submitting", "running", "completed", "its record is removed")
    ]
    seconds = [(step.at - steps[0].at).total_seconds() for step in steps]
    assert seconds == [0, 1, 2, 7, 7 + 7 * 86_400]
    assert clock.field(job, "history") is None


def test_an_answer_that_was_lost_and_found_is_told_with_its_cause(clock: Clockwork) -> None:
    (job,) = clock.unconfirmed()
    assert history(clock, job).steps[-1].ahead, "the next search"
    clock.wait(3)
    clock.found(job, 1, "tsk_1")
    assert told(clock, job) == ["created", "submitting", "unconfirmed", "running", "running"]
    causes = [step.cause for step in history(clock, job).steps if not step.ahead]
    assert causes[3:] == ["tsk_1", "tsk_1"]


def test_a_history_keeps_the_last_twelve_steps(clock: Clockwork) -> None:
    (job,) = clock.enqueue(1)
    for attempt in range(1, 16):
        clock.wait(120)
        clock.claimed()
        clock.give_back(job, "busy", attempt, reason=f"{attempt} busy\nnot a line")
    steps = [step for step in history(clock, job).steps if "surely" in step.what]
    assert [step.attempt for step in steps] == list(range(4, 16))
    assert steps[-1].cause == "busy: 15 busy not a line"
    assert history(clock, job).forgotten == 3


def test_notes_are_read_page_by_page_the_newest_first(clock: Clockwork) -> None:
    for n in range(5):
        clock.run(audit.add_entry(clock.account, "ops", "pause_group", f"g{n}", "why"))
    first = clock.run(audit.read_entries(clock.account, count=3))
    rest = clock.run(audit.read_entries(clock.account, first[-1].id, 3))
    assert [note.target for note in (*first, *rest)] == ["g4", "g3", "g2", "g1", "g0"]
    assert (first[0].who, first[0].what, first[0].detail) == ("ops", "pause_group", "why")


def test_a_note_that_is_sent_twice_stands_once(clock: Clockwork) -> None:
    call = audit.add_entry(clock.account, "ops", "pause_account")
    assert clock.run(call) == clock.run(call)
    assert len(clock.run(audit.read_entries(clock.account))) == 1


def test_the_notes_are_bounded(clock: Clockwork) -> None:
    for _ in range(1_300):
        call = audit.add_entry(clock.account, "ops", "x")
        call.arguments[0] = 100  # type: ignore[index]
        clock.run(call)
    assert clock.client.xlen(clock.key("audit")) < 300, "whole nodes of a hundred are dropped"


def test_processes_are_told_by_when_they_were_heard(clock: Clockwork) -> None:
    clock.heartbeat("p1", first=True)
    clock.wait(4)
    clock.heartbeat("p2", first=True)
    clock.enqueue(2)
    clock.claimed(process="p2")
    second, first = clock.run(live_processes.processes(clock.account))
    assert (first.name, first.heartbeat_seconds, first.alive, first.submitting) == (
        "p1",
        4,
        True,
        0,
    )
    assert (second.name, second.heartbeat_seconds, second.submitting) == ("p2", 0, 2)
    assert second.stages == ("submit",)
    clock.wait(14)
    assert [p.alive for p in clock.run(live_processes.processes(clock.account))] == [True, False]


def test_each_attempt_with_a_run_is_told_with_its_times_and_what_it_took(clock: Clockwork) -> None:
    (job,) = clock.enqueue(1)
    for attempt in (1, 2):
        clock.wait(60)
        clock.heartbeat(first=True)
        clock.claim()
        clock.found(job, attempt, f"tsk_{attempt}")
        clock.wait(30)
        took, run_id = f"::{attempt}:7:::LLM_ERROR:", f"tsk_{attempt}"
        again = RunAgain(job, attempt, run_id, "failed", f"bad\nend {attempt}", 0, b"{}", took)
        assert clock.run(worker_calls.retry_run(clock.account, [again])) == [1]
        clock.wait(5)
        clock.sweep("promote_due", 100)
    clock.wait(60)
    clock.heartbeat(first=True)
    clock.claim()
    clock.found(job, 3, "tsk_3")
    first, second, last = history(clock, job).attempts
    assert [one.attempt for one in (first, second, last)] == [1, 2, 3]
    for one in (first, second):
        assert one.claimed_at
        assert one.started_at
        assert one.ended_at
        assert (one.ended_at - one.started_at).total_seconds() == 30
        assert (one.status, one.category) == ("failed", "LLM_ERROR")
        assert one.reason == f"bad end {one.attempt}"
        assert (one.steps, one.credits) == (one.attempt, 7)
    assert (last.started_at is not None, last.ended_at) == (True, None)
    known = [step.attempt for step in history(clock, job).steps if "claimed" in step.what]
    assert known == [1, 2, 3]


def test_a_replayed_job_keeps_the_attempts_of_its_earlier_life(clock: Clockwork) -> None:
    (job,) = clock.running()
    clock.wait(30)
    clock.finish(job, state="failed")
    clock.wait(9)
    clock.run(operator_calls.replay("default", clock.seen(job)))
    (first,) = history(clock, job).attempts
    assert first.started_at is not None
    assert first.ended_at is not None
    assert (first.ended_at - first.started_at).total_seconds() == 30
