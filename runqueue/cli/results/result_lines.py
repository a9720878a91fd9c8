"""Results as lines of a file, some at a time."""

from collections.abc import Generator
from typing import NamedTuple

import orjson

from runqueue.cli.shared.queues import Queue
from runqueue.errors import RunQueueError
from runqueue.ids import DEFAULT
from runqueue.producer.listing import ALL, Filter

#: The most lines, and bytes of lines, that are yielded at once.
_LINES, _BYTES = 500, 1024 * 1024


class ResultLine(NamedTuple):
    """A line of a results file: its job, and its JSON with the newline."""

    job_id: str
    text: bytes


def result_lines(
    queue: Queue,
    batch: str | None,
    wanted: Filter = ALL,
    *,
    account: str = DEFAULT,
    errors: bool = False,
    after: str | None = None,
) -> Generator[list[ResultLine]]:
    """Go through results as `iter_results`, as lines; those before an error come first."""
    found: list[ResultLine] = []
    weight = 0
    try:
        for job in queue.iter_results(batch, wanted, errors=errors, after=after, account=account):
            found.append(ResultLine(job.id, orjson.dumps(job.as_row()) + b"\n"))
            weight += len(found[-1].text)
            if len(found) >= _LINES or weight >= _BYTES:
                yield found
                found, weight = [], 0
    except RunQueueError:
        yield found
        raise
    yield found
