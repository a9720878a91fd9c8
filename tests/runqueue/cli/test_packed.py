"""Every command shows a packed job as it showed it before."""

from __future__ import annotations

import json

import pytest

from tests.packed import is_packed, pack_all
from tests.runqueue.cli.commanding import Desk, batch_of, lines


@pytest.fixture
def batch(either: Desk) -> str:
    """Three jobs that are over: completed, failed and dead."""
    batch = batch_of(either, *lines(3))
    first, second, third = either.claim()
    either.end([first])
    either.end([second], "failed")
    either.refuse([third])
    return batch


@pytest.mark.parametrize(
    "command",
    [["results"], ["results", "--wait"], ["results", "--errors"], ["status"], ["status", "--json"]],
    ids=" ".join,
)
def test_a_batch_reads_the_same(either: Desk, batch: str, command: list[str]) -> None:
    name, *options = command
    before = either.run(name, batch, *options)

    assert pack_all(either.client) == 2, "the dead one has no result, and a short request"

    after = either.run(name, batch, *options)
    assert (after.stdout, after.exit_code) == (before.stdout, before.exit_code)
    assert before.stdout


@pytest.mark.parametrize("command", [["status"], ["status", "--json"]], ids=" ".join)
def test_a_job_reads_the_same(either: Desk, batch: str, command: list[str]) -> None:
    rows = [json.loads(line) for line in either.run("results", batch).stdout.splitlines()]
    job = next(row["job_id"] for row in rows if row["state"] == "completed")
    name, *options = command
    before = either.run(name, job, *options)

    pack_all(either.client)

    assert is_packed(either.client, job)
    after = either.run(name, job, *options)
    assert (after.stdout, after.exit_code) == (before.stdout, before.exit_code)
    assert either.queue.get(job).output == either.queue.wait(job, 1).output == "42"


def test_a_table_of_results_is_the_same(either: Desk, batch: str) -> None:
    before, after = either.folder / "before.csv", either.folder / "after.csv"
    either.run("results", batch, "-o", str(before))
    pack_all(either.client)

    either.run("results", batch, "-o", str(after))

    assert after.read_bytes() == before.read_bytes()
