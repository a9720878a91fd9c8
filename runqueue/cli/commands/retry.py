"""`runqueue retry`: submits the dead and failed jobs of a batch again."""

from typing import Annotated

import typer

from runqueue.cli.commands.batches import Canceled, OneBatch, retry_failed
from runqueue.cli.shared.job_selection import Reason
from runqueue.cli.shared.options import OneObject
from runqueue.cli.shared.queues import Url


def retry(
    batch: OneBatch,
    *,
    failed: Annotated[
        bool, typer.Option("--failed", help="Its dead and failed jobs; completed ones are not.")
    ] = False,
    reason: Reason = None,
    canceled: Canceled = False,
    url: Url = None,
    as_json: OneObject = False,
) -> None:
    """Submit the dead and failed jobs of a batch again, as `runqueue batch retry-failed`."""
    if not failed:
        words = "expected --failed: completed jobs are not submitted again"
        raise typer.BadParameter(words, param_hint="--failed")
    retry_failed(batch, reason=reason, canceled=canceled, url=url, as_json=as_json)
