"""Following jobs without a command, and reading a results file."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runqueue.cli.follow.job_id_store import JobList
from runqueue.cli.follow.tracker import Following
from tests.runqueue.cli.commanding import Desk


@contextmanager
def followed(
    desk: Desk,
    ids: list[str],
    grace: float = 60,
    *,
    batches: dict[str, int] | None = None,
    kept: dict[str, list[str]] | None = None,
) -> Iterator[Following]:
    """Follow batches by their counts, of which ids may be kept, and jobs by their ids."""
    with JobList() as jobs:
        for batch, some in ((kept or {}) | {"": ids}).items():
            jobs.add(batch, some)
        jobs.settle(batches or {}, keep=kept is not None)
        yield Following(desk.queue, batches or {}, jobs, ["default", "second"], grace)


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(text) for text in path.read_text().splitlines()]
