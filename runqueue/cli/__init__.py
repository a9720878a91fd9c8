"""The command `runqueue`.

Data goes to stdout, everything else to stderr. Exit codes:

    0    every job completed; without waiting: the jobs were submitted
    1    a job failed, was canceled, is dead or unconfirmed; or the results could not be written, or
         are incomplete, since some jobs of the batch have not ended
    2    wrong usage, or a question was not answered with yes
    3    a line of the file, or an id, was not accepted
    4    the queue cannot be reached, takes no jobs, or a gateway refuses the token
    130  interrupted; submitted jobs go on
"""

import os
import sys

#: The variables that the command line reads from `.env`, as workers do that start in this folder.
_FROM_FILE = (
    "RUNQUEUE_REDIS_URL",
    "RUNQUEUE_URL",
    "RUNQUEUE_TOKEN",
    "RUNQUEUE_ALLOW_HTTP",
    "RUNQUEUE_CALLBACK_URL",
    "RUNQUEUE_UNCONFIRMED_GRACE_SECONDS",
    "RUNQUEUE_REQUEST_CHECKS",
    "RUNQUEUE_ALLOW_PRIVATE_WEBHOOK_TARGETS",
    "RUNQUEUE_PRICE_PER_CREDIT",
    "RUNQUEUE_ARCHIVE_URL",
)


def main() -> None:
    """Run the command line; typer and rich come with the extra `cli`."""
    try:
        import dotenv  # noqa: PLC0415 - comes with the extra
        import rich  # noqa: F401, PLC0415 - imported first, so that their absence has a message
        import typer  # noqa: F401, PLC0415
    except ImportError:
        sys.stderr.write("runqueue: the command line needs: pip install 'runqueue[cli]'\n")
        sys.exit(2)
    found = dotenv.dotenv_values(".env")
    for name in _FROM_FILE:
        # An empty variable counts as not set, as for the workers.
        if (value := found.get(name)) and not os.environ.get(name):
            os.environ[name] = value
    from runqueue.cli.app import run  # noqa: PLC0415 - imports typer

    run()
