"""The queue that a command uses: Redis, or with `--url` a gateway.

A command says `with opened(url) as queue`; both have the same methods.
"""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import orjson
import typer

from runqueue.cli.shared.exit_codes import Exit, ended, exit_on_error, print_err
from runqueue.cli.shared.result_lines import ResultLine
from runqueue.errors import InvalidRequest
from runqueue.ids import DEFAULT
from runqueue.operator.operations import Filter, Operations
from runqueue.producer.listing import ALL
from runqueue.producer.queue import RunQueue
from runqueue.producer.results import ResultReader
from runqueue.records.job import Job
from runqueue.store.history import read_trail
from runqueue.store.operator_calls import CancelCounts

if TYPE_CHECKING:
    from runqueue.cli.backends.gateway import GatewayQueue

#: What a command opens; and what functions take that need only the public queue.
Queue: TypeAlias = "DirectQueue | GatewayQueue"
AnyQueue: TypeAlias = "RunQueue | GatewayQueue"

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="RUNQUEUE_URL",
        help="Use the gateway there (its token: RUNQUEUE_TOKEN) instead of Redis.",
    ),
]

#: Reads under way at a time.
_READERS = 2


class DirectQueue(RunQueue):
    """The queue in Redis, as the commands need it."""

    def home(self) -> str:
        """Return the account where none is named."""
        return DEFAULT

    def timeline(self, job_id: str) -> dict[str, Any]:
        """Return a job's request, as far as it may be shown, and its steps; {} = unknown."""
        trail = self.send(read_trail(self._account(job_id), job_id))
        return {} if trail is None else trail.as_dict()

    def find_open(self, wanted: Filter, *, account: str | None = None) -> Iterator[Job]:
        """Go through the jobs that have not ended; as `Operations.find_open`."""
        return Operations(self).find_open(wanted, account=account)

    def cancel_jobs(self, job_ids: Iterable[str]) -> CancelCounts:
        """Cancel jobs; as `Operations.cancel`."""
        return Operations(self).cancel(job_ids)

    def cancel_all_of(self, batch: str) -> CancelCounts:
        """Cancel every job of a batch; as `Operations.cancel_batch`."""
        return Operations(self).cancel_batch(batch)

    def lines(
        self,
        batch: str | None,
        wanted: Filter = ALL,
        *,
        account: str = DEFAULT,
        errors: bool = False,
        after: str | None = None,
    ) -> Generator[list[ResultLine]]:
        """Go through results as `iter_results`; Redis reads some while others are written."""
        reader = self.open_results(batch, wanted, errors=errors, after=after, account=account)
        under_way = deque[Future[list[ResultLine]]]()
        with ThreadPoolExecutor(_READERS) as readers:
            while (ids := reader.ids()) is not None:
                while ids:
                    under_way.append(readers.submit(self._read, reader, ids[: reader.size]))
                    del ids[: reader.size]
                    if len(under_way) > _READERS:
                        lines = under_way.popleft().result()
                        reader.adapt(sum(len(line.text) for line in lines))
                        yield lines
            while under_way:
                yield under_way.popleft().result()

    def _read(self, reader: ResultReader, ids: list[str]) -> list[ResultLine]:
        rows = ((job.id, job.as_row()) for job in reader.jobs(ids))
        return [ResultLine(job_id, orjson.dumps(row) + b"\n") for job_id, row in rows]


@contextmanager
def opened(url: str | None) -> Iterator[Queue]:
    """Open the queue; an error ends the command with a line on stderr.

    Args:
        url: the gateway's; None = use Redis.
    """
    with exit_on_error():
        if url:
            with gateway_at(url) as remote:
                yield remote
        else:
            with DirectQueue() as direct:
                yield direct


def gateway_at(url: str) -> GatewayQueue:
    """Open a gateway; an invalid URL or token ends the command."""
    try:
        # httpx loads slowly, and few commands need it.
        from runqueue.cli.backends.gateway import GatewayQueue  # noqa: PLC0415
    except ImportError:
        raise ended("--url needs: pip install 'runqueue[http]'", Exit.USAGE) from None
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            queue = GatewayQueue(url)
    except InvalidRequest as error:
        raise ended(f"--{error}", Exit.USAGE) from None
    for warning in said:
        print_err(f"runqueue: {warning.message}")
    return queue


@contextmanager
def opened_redis() -> Iterator[RunQueue]:
    """Open the queue for a command that needs Redis; as `opened`."""
    if os.environ.get("RUNQUEUE_URL") and not os.environ.get("RUNQUEUE_REDIS_URL"):
        words = "this command needs Redis: set RUNQUEUE_REDIS_URL (RUNQUEUE_URL names a gateway)"
        raise ended(words, Exit.USAGE)
    with exit_on_error(), RunQueue() as queue:
        yield queue
