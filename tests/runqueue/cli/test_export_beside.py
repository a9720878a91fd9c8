"""Results files, while somebody else does something with the batch or with the file."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from runqueue.cli.results import command
from runqueue.cli.results.line_file import ResultsError
from runqueue.cli.results.live_file import Results
from runqueue.cli.results.partial_file import Of, Part
from runqueue.cli.results.result_lines import ResultLine, result_lines
from runqueue.cli.shared.queues import Queue
from runqueue.records.claim_items import Claimed
from tests.runqueue.cli.commanding import Desk, batch_of, lines
from tests.runqueue.cli.exporting import cut_off, keys_of, over


class _Retried:
    """What stands for the reading: somebody has a batch done again before; ten get there at once.

    Args:
        desk: whose queue it is.
    """

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.rest = 0
        self.left: list[Claimed] = []

    def lines(
        self, queue: Queue, batch: str | None, *more: Any, **options: Any
    ) -> Generator[list[ResultLine]]:
        if options.get("after") is None and batch is not None:
            queue.retry_failed(batch)
            jobs = self.desk.claim()
            self.left = jobs[: self.rest]
            self.desk.end(jobs[self.rest :], runs_are="again")
        return result_lines(queue, batch, *more, **options)


@pytest.fixture
def retried(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> _Retried:
    """What stands for the reading of results."""
    made = _Retried(desk)
    monkeypatch.setattr(command, "result_lines", made.lines)
    return made


@pytest.mark.parametrize(
    ("rest", "said"),
    [(20, "20 of 30 jobs had not ended"), (0, "jobs were submitted again while they were read")],
)
def test_jobs_that_are_done_again_under_the_reading_are_told(
    desk: Desk, retried: _Retried, rest: int, said: str
) -> None:
    retried.rest = rest
    batch = batch_of(desk, *lines(30))
    desk.end(desk.claim(), "failed")
    out = desk.folder / "out.jsonl"

    result = desk.run("results", batch, "-o", str(out))

    assert result.exit_code == 1
    assert said in result.stderr
    assert len(keys_of(out)) == 30 - rest


def test_what_was_passed_over_under_the_reading_is_there_when_it_goes_on(
    desk: Desk, retried: _Retried
) -> None:
    retried.rest = 20
    batch = batch_of(desk, *lines(30))
    desk.end(desk.claim(), "failed")
    out = desk.folder / "out.jsonl"
    part = cut_off(desk, batch, out, 2_000)
    assert keys_of(part)[0] == "order-20"
    desk.end(retried.left, runs_are="again")
    assert desk.queue.get_batch(batch).is_over

    assert desk.run("results", batch, "-o", str(out)).exit_code == 0

    assert keys_of(out) == [f"order-{number}" for number in range(30)]


def test_a_submit_does_not_empty_the_part_that_another_process_writes(desk: Desk) -> None:
    batch = over(desk, 40)
    out = desk.folder / "out.jsonl"
    part = cut_off(desk, batch, out, 6_000)
    there = part.read_bytes()

    with Part(out, Of(batch, "results")):
        result = desk.run("submit", desk.file(lines(40)), "--results", str(out))

    assert result.exit_code == 2
    assert "another process writes" in " ".join(result.stderr.replace("│", " ").split())
    assert part.read_bytes() == there


def test_results_do_not_go_on_behind_what_a_submit_has_written(desk: Desk) -> None:
    batch = over(desk, 40)
    out = desk.folder / "out.jsonl"
    part = cut_off(desk, batch, out, 6_000)
    last_first = desk.run("results", batch).stdout_bytes.splitlines(keepends=True)[::-1]

    with Results(out) as results:
        results.append(last_first[:3])
        with pytest.raises(ResultsError, match="another process writes"):
            Results(out)

    assert part.read_bytes() == b"".join(last_first[:3])
    assert desk.run("results", batch, "-o", str(out)).exit_code == 0
    assert keys_of(out) == [f"order-{number}" for number in range(40)]
