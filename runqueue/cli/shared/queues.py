"""The queue that a command uses: in Redis, or with `--url` behind a gateway; both have the same
methods.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from runqueue.cli.shared.exit_codes import Exit, ended, exit_on_error, print_err
from runqueue.connection.client import URL_FILE
from runqueue.errors import InvalidRequest
from runqueue.ids import DEFAULT
from runqueue.producer.listing import ALL, Filter
from runqueue.producer.queue import RunQueue
from runqueue.records.job import Job
from runqueue.server_version import server_part

if TYPE_CHECKING:  # httpx loads slowly, and few commands need it.
    from runqueue.remote.queue import RemoteQueue

Queue: TypeAlias = "RunQueue | RemoteQueue"

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="RUNQUEUE_URL",
        help="Use the gateway there (its token: RUNQUEUE_TOKEN) instead of Redis.",
    ),
]


@contextmanager
def opened(url: str | None) -> Iterator[Queue]:
    """Open the queue; an error ends the command with a line on stderr.

    Args:
        url: the gateway's; None = use Redis.
    """
    with exit_on_error(), _gateway(url) if url else _in_redis() as queue:
        yield queue


def _in_redis() -> RunQueue:
    """Return the queue in Redis, with its archive: RUNQUEUE_ARCHIVE_URL, or the embedded server's.

    What is not installed is no error where the setting does not ask for it.
    """
    given = os.environ.get("RUNQUEUE_ARCHIVE_URL")
    file = URL_FILE.with_name("archive.sqlite")
    is_embedded = given is None and not os.environ.get("RUNQUEUE_REDIS_URL") and file.exists()
    archive = f"sqlite:///{file.resolve()}" if is_embedded else given
    if not archive:
        return RunQueue()
    try:
        found: RunQueue = server_part("runqueue.queues", "archived")(archive)
    except RuntimeError as error:
        if is_embedded:
            return RunQueue()
        raise ended(f"RUNQUEUE_ARCHIVE_URL: {error}", Exit.USAGE) from None
    return found


def _gateway(url: str) -> RemoteQueue:
    """Return the queue behind a gateway; an invalid URL or token ends the command."""
    try:
        from runqueue.remote.queue import RemoteQueue  # noqa: PLC0415 - see above
    except ImportError:
        raise ended("--url needs: pip install 'runqueue[http]'", Exit.USAGE) from None
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            queue = RemoteQueue(url)
    except InvalidRequest as error:
        raise ended(f"--{error}", Exit.USAGE) from None
    for warning in caught:
        print_err(f"runqueue: {warning.message}")
    return queue


def home_of(queue: Queue) -> str:
    """Return the account where none is named: `default`, or the first that the token is for."""
    names = queue.accounts()
    return names[0] if names and DEFAULT not in names else DEFAULT


def find(
    queue: Queue,
    wanted: Filter = ALL,
    account: str | None = None,
    *,
    unread: list[str] | None = None,
) -> Iterator[Job]:
    """Go through jobs; one may come twice.

    Args:
        queue: the queue.
        wanted: which jobs.
        account: of one account; None = of every one.
        unread: takes the ids of jobs that cannot be read.
    """
    for page in queue.job_pages(wanted, account=account):
        if unread is not None:
            unread += page.unread
        if page.lacks_archive:
            print_err(
                "runqueue: the archive was not read (it is away, or RUNQUEUE_ARCHIVE_URL is not"
                " set): only jobs that Redis has are found"
            )
        yield from page.jobs
