"""How a command ends: the exit codes, and which error means which."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import typer

from runqueue.errors import (
    BatchCanceled,
    BatchExpired,
    BatchMismatch,
    BatchNotFound,
    InvalidRequest,
    JobNotFound,
    MalformedURL,
    RunQueueError,
    ScheduleNotFound,
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


#: Errors about a line or an id; all others mean that the queue cannot do it now.
_INVALID = (
    *(InvalidRequest, UnknownAccount, JobNotFound),
    *(BatchNotFound, BatchCanceled, BatchExpired, BatchMismatch, ScheduleNotFound),
)


def print_err(message: str) -> None:
    """Write a line to stderr, as plain text."""
    typer.echo(message, err=True)


def ended(why: str, code: Exit) -> typer.Exit:
    """Print why the command ends, and return the exception that ends it."""
    print_err(f"runqueue: {why}")
    return typer.Exit(code)


@contextmanager
def exit_on_error() -> Iterator[None]:
    """End the command on an error with a line on stderr and no traceback."""
    try:
        yield
    except MalformedURL as error:
        raise ended(f"RUNQUEUE_REDIS_URL: {error.reason}", Exit.USAGE) from None
    except RunQueueError as error:
        is_invalid = isinstance(error, _INVALID)
        raise ended(str(error), Exit.INVALID if is_invalid else Exit.UNAVAILABLE) from None
    except ChecksError as error:
        raise ended(str(error), Exit.USAGE) from None
    except KeyboardInterrupt:
        raise ended("interrupted", Exit.INTERRUPTED) from None
    except OSError as error:
        # The reader of stdout is gone, or its disk is full; Python would complain again when it
        # flushes at the end.
        if not isinstance(error, BrokenPipeError):
            print_err(f"runqueue: cannot write: {error.strerror or error}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(Exit.NOT_ALL_COMPLETED) from None
