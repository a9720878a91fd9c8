"""The example of a batch that looks after itself: it makes the batch that the page describes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from runqueue import RunQueue
from runqueue.store.keys import ACCOUNTS
from tests.docs.pages import Example, examples

PAGE = (Path(__file__).parents[2] / "docs/batches.md").read_text()
(BATCH,) = (one for one in examples(PAGE, "python") if "open_batch" in one.code)


@pytest.fixture
def queue(
    client: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunQueue]:
    """The queue that the example finds, in a folder without files."""
    client.sadd(ACCOUNTS, "default")
    monkeypatch.setenv("RUNQUEUE_REDIS_URL", redis_url)
    with RunQueue(redis_url) as found:
        yield found


def printed(example: Example, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """Run the example; returns the batch and the counts that it prints."""
    exec(compile(example.code, "batches.md", "exec"), {})
    batch, _, counts = capsys.readouterr().out.strip().partition(" ")
    return batch, counts


def test_the_example_of_a_batch_prints_its_counts(
    queue: RunQueue,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    batch, counts = printed(BATCH, capsys)
    again, counts_again = printed(BATCH, capsys)

    assert (counts, counts_again) == ("Counter({'new': 10})", "Counter({'known': 10})")
    assert "`Counter({'new': 10})`; the second time `{'known': 10}`" in PAGE
    found = queue.get_batch(batch)
    assert (found.total, found.sealed, found.held) == (10, True, "canary")
    assert queue.get_batch(again).total == 0
