"""The writers of an account, and how an item's capacity hangs on what they record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from runqueue.records.claim_items import ClaimAnswer, Taken
from tests.simulator.simulating import eventually
from tests.worker.working import Work, start
from worker.process.batch_writer import BatchWriter, Record
from worker.stages.consumer import Consumer, StageResult


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

    kind = "test"
    result = StageResult()
    ids: ClassVar[dict[str, Any] | None] = {}

    async def take(self, limit: int, tick_us: int) -> Taken[str]:
        """Take nothing."""
        return Taken(ClaimAnswer.OK, limit + tick_us)

    def about(self, item: str) -> dict[str, Any]:
        """Return the item, or what the test has the log say; a bug if that is None."""
        if self.ids is None:
            raise AttributeError(item)
        return {"job_id": item, **self.ids}

    async def handle(self, item: str) -> StageResult:
        """Return what was given, or fail."""
        assert item == "j1"
        return self.result


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
        stage.result = StageResult([Record(written, "r")] * records)
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
        stage.result = StageResult(event="poll_failed", details={"why": "trouble"})

        await stage.process("j1")

        (line,) = [entry for entry in logged if entry["event"] == "poll_failed"]
        assert line.items() >= {"account": "default", "job_id": "j1", "why": "trouble"}.items()


CLASHES = {"event": "e", "account": "a", "kind": "k", "why": "w", "error": "e", "at": "a"}


@pytest.mark.parametrize("ids", [None, CLASHES], ids=["a bug", "names that clash"])
async def test_what_the_log_makes_of_an_item_costs_neither_its_record_nor_its_capacity(
    work: Work, logged: list[Any], monkeypatch: pytest.MonkeyPatch, ids: dict[str, Any] | None
) -> None:
    async with work() as bench:
        stage, written = Stage(bench.account, 5), Held()
        monkeypatch.setattr(Stage, "ids", ids)
        details = {"account": "x", "event": "x", "job_id": "x", "why": "trouble"}
        stage.result = StageResult([Record(written, "r")], "poll_failed", details)

        start(stage, "j1")

        await eventually(lambda: not stage._tasks)
        assert stage.busy == len(written.waiting) == 1
        written.waiting[0]()
        assert stage.busy == 0
        event = "item_failed" if ids is None else "poll_failed"
        (line,) = [entry for entry in logged if entry["event"] == event]
        assert line["account"] == "default"
        assert line.get("job_id", "j1") == "j1"
