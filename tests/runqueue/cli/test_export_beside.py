"""Results files, while somebody else does something with the batch or with the file."""

from __future__ import annotations

from collections.abc import Generator
from typing import ClassVar

import pytest

from runqueue.cli.backends import direct
from runqueue.cli.backends.direct import DirectQueue
from runqueue.cli.results.line_file import ResultsError
from runqueue.cli.results.live_file import Results
from runqueue.cli.results.partial_file import Of, Part
from runqueue.cli.shared.result_lines import ResultLine
from runqueue.producer.listing import ALL, Filter
from runqueue.records.claim_items import Claimed
from tests.runqueue.cli.commanding import Desk, batch_of, lines
from tests.runqueue.cli.exporting import cut_off, keys_of, over


class _Retried(DirectQueue):
    """A queue in which somebody has a batch done again before it is read; ten get there at once."""

    desk: ClassVar[Desk]
    rest: ClassVar[int]
    left: ClassVar[list[Claimed]]

    def lines(
        self,
        batch: str | None,
        wanted: Filter = ALL,
        *,
        account: str = "default",
        errors: bool = False,
        after: str | None = None,
    ) -> Generator[list[ResultLine]]:
        if after is None and batch is not None:
            self.retry_failed(batch)
            jobs = self.desk.claim()
            _Retried.left = jobs[: self.rest]
            self.desk.end(jobs[self.rest :], runs_are="again")
        return super().lines(batch, wanted, account=account, errors=errors, after=after)


@pytest.fixture
def retried(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> type[_Retried]:
    """What stands for the queue that commands open."""
    monkeypatch.setattr(direct, "DirectQueue", _Retried)
    monkeypatch.setattr(_Retried, "desk", desk, raising=False)
    return _Retried


@pytest.mark.parametrize(
    ("rest", "said"),
    [(20, "20 of 30 jobs had not ended"), (0, "jobs were submitted again while they were read")],
)
def test_jobs_that_are_done_again_under_the_reading_are_told(
    desk: Desk,
    retried: type[_Retried],
    monkeypatch: pytest.MonkeyPatch,
    rest: int,
    said: str,
) -> None:
    monkeypatch.setattr(retried, "rest", rest, raising=False)
    batch = batch_of(desk, *lines(30))
    desk.end(desk.claim(), "failed")
    out = desk.folder / "out.jsonl"

    result = desk.run("results", batch, "-o", str(out))

    assert result.exit_code == 1
    assert said in result.stderr
    assert len(keys_of(out)) == 30 - rest


def test_what_was_passed_over_under_the_reading_is_there_when_it_goes_on(
    desk: Desk, retried: type[_Retried], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retried, "rest", 20, raising=False)
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
