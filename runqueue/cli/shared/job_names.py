"""Find jobs and batches by id or custom_id."""

from collections.abc import Sequence

import typer

from runqueue import ids
from runqueue.cli.shared.exit_codes import Exit, print_err
from runqueue.cli.shared.queues import Queue
from runqueue.errors import BatchNotFound
from runqueue.records.batch import Batch
from runqueue.records.job import Job


def named(
    queue: Queue, names: Sequence[str], namespace: str, *, result: bool = False
) -> list[Job | Batch]:
    """Find jobs and batches by name, each once; an unknown name ends the command.

    Jobs are read in pages, a batch in a round trip of its own.

    Args:
        queue: the queue.
        names: ids of jobs or batches, or custom_ids.
        namespace: of the custom_ids.
        result: whether to read the jobs' results.
    """
    names = list(dict.fromkeys(names))
    found: dict[str, Job | Batch] = {}
    found.update(_jobs(queue, {name: name for name in names if ids.is_id(name)}, result=result))
    for name in names:
        if name not in found and (batch := batch_of(queue, name)):
            found[name] = batch
    others = [name for name in names if name not in found and _is_text(name)]
    for account in queue.accounts() if others else ():
        keys = {name: ids.job_id_for(account, namespace, name) for name in others}
        for name, job in _jobs(queue, keys, result=result).items():
            found.setdefault(name, job)
    if missing := [name for name in names if name not in found]:
        for name in missing:
            print_err(f"runqueue: no job, batch or custom_id {name!r} on record")
        raise typer.Exit(Exit.INVALID)
    return list({found[name].id: found[name] for name in names}.values())


def named_jobs(queue: Queue, names: Sequence[str], namespace: str) -> list[str]:
    """Return the ids of named jobs; the name of a batch ends the command.

    Args:
        queue, names, namespace: as for `named`.
    """
    found = named(queue, names, namespace)
    if batches := [one.id for one in found if isinstance(one, Batch)]:
        for batch in batches:
            print_err(f"runqueue: {batch} is a batch: its jobs are chosen by --batch")
        raise typer.Exit(Exit.INVALID)
    return [one.id for one in found]


def _jobs(queue: Queue, job_ids: dict[str, str], *, result: bool) -> dict[str, Job]:
    """Return the jobs on record, by name."""
    jobs = queue.get_many(list(job_ids.values()), result=result)
    return {name: job for name, job in zip(job_ids, jobs, strict=True) if job is not None}


def batch_of(queue: Queue, name: str) -> Batch | None:
    """Return a batch by its id; None = there is none."""
    try:
        return queue.get_batch(name)
    except BatchNotFound:
        return None


def _is_text(name: str) -> bool:
    """Return whether an argument was UTF-8; Python keeps other bytes as lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in name)
