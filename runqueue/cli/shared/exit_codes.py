"""How a command ends: the exit codes, and which error means which."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import typer

from runqueue.embedded.valkey import EmbeddedServerError
from runqueue.errors import (
    BatchCanceled,
    BatchExpired,
    BatchMismatch,
    BatchNotFound,
    EvictingRedis,
    InvalidRequest,
    JobNotFound,
    MalformedURL,
    QueueFull,
    QueueUnavailable,
    RunQueueError,
    UnknownAccount,
)
from runqueue.request.request_checks import ChecksError

#: The codes as `--help` shows them.
EPILOG = (
    "Exit codes: 0 every job completed (or was submitted), 1 a job failed, was canceled, is dead "
    "or unconfirmed, 2 wrong usage, or a question not answered with yes, 3 a line or an id was not "
    "accepted, 4 the queue cannot be reached, 130 interrupted (jobs go on)."
)


class Exit(IntEnum):
    """The exit codes; `runqueue.cli` explains them."""

    OK = 0
    NOT_ALL_COMPLETED = 1
    USAGE = 2
    INVALID = 3
    UNAVAILABLE = 4
    INTERRUPTED = 130


_CODES: tuple[tuple[type[RunQueueError], Exit], ...] = (
    (QueueUnavailable, Exit.UNAVAILABLE),
    (EvictingRedis, Exit.UNAVAILABLE),
    (QueueFull, Exit.UNAVAILABLE),
    (EmbeddedServerError, Exit.UNAVAILABLE),
    (InvalidRequest, Exit.INVALID),
    (UnknownAccount, Exit.INVALID),
    (JobNotFound, Exit.INVALID),
    (BatchNotFound, Exit.INVALID),
    (BatchCanceled, Exit.INVALID),
    (BatchExpired, Exit.INVALID),
    (BatchMismatch, Exit.INVALID),
)


def tell(message: str) -> None:
    """Write a line to stderr, as plain text."""
    typer.echo(message, err=True)


def code_of(error: RunQueueError) -> Exit:
    """Return the exit code of an error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), Exit.UNAVAILABLE)


@contextmanager
def errors_told() -> Iterator[None]:
    """End the command on an error with a line on stderr and no traceback."""
    try:
        yield
    except MalformedURL as error:
        tell(f"runqueue: RUNQUEUE_REDIS_URL: {error.reason}")
        raise typer.Exit(Exit.USAGE) from None
    except RunQueueError as error:
        tell(f"runqueue: {error}")
        raise typer.Exit(code_of(error)) from None
    except ChecksError as error:
        tell(f"runqueue: {error}")
        raise typer.Exit(Exit.USAGE) from None
    except KeyboardInterrupt:
        tell("runqueue: interrupted")
        raise typer.Exit(Exit.INTERRUPTED) from None
    except OSError as error:
        # The reader of stdout is gone, or its disk is full; Python would complain again when it
        # flushes at the end.
        if not isinstance(error, BrokenPipeError):
            tell(f"runqueue: cannot write: {error.strerror or error}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(Exit.NOT_ALL_COMPLETED) from None
