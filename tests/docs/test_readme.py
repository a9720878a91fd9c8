"""README's example of a batch: it makes the batch that it describes, and prints what came of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from runqueue import RunQueue
from runqueue.store.keys import ACCOUNTS
from tests.docs.pages import Example, examples

README = (Path(__file__).parents[2] / "README.md").read_text()
(BATCH,) = (one for one in examples(README, "python") if "open_batch" in one.code)


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
    exec(compile(example.code, "README.md", "exec"), {})
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
    assert "`Counter({'new': 10})`; the second time `{'known': 10}`" in README
    found = queue.get_batch(batch)
    assert (found.total, found.sealed, found.held) == (10, True, "canary")
    assert queue.get_batch(again).total == 0
