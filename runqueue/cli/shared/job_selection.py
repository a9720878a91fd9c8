"""The options that choose many jobs, by name or by filter, and the report of what was done."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import typer

from runqueue.cli.shared.audit_log import record_jobs_change
from runqueue.cli.shared.exit_codes import Exit, ended, exit_on_error, print_err
from runqueue.cli.shared.job_names import named_jobs
from runqueue.cli.shared.options import Since, Until
from runqueue.cli.shared.queues import Queue, Url, find
from runqueue.operator.decisions import GOOD, WORDS, Settled
from runqueue.producer.listing import Filter, read_entries
from runqueue.records.job import Job, JobState
from runqueue.records.reasons import has_words


def _not_empty(value: str | None) -> str | None:
    """Refuse '': a variable that is not set must not choose every job."""
    if value is not None and not value.strip():
        raise typer.BadParameter("expected some text, got none")
    return value


Jobs = Annotated[
    list[str] | None, typer.Argument(metavar="JOB...", help="Ids of jobs, or custom_ids.")
]
Group = Annotated[str | None, typer.Option(callback=_not_empty, help="Only jobs of this group.")]
Batch = Annotated[str | None, typer.Option(callback=_not_empty, help="Only jobs of this batch.")]
Reason = Annotated[
    str | None, typer.Option(callback=_not_empty, help="Only jobs whose reason contains this text.")
]
Account = Annotated[str | None, typer.Option(callback=_not_empty, help="Only this account.")]
Except = Annotated[
    list[str] | None,
    typer.Option(
        "--except",
        metavar="JOB",
        help="With a filter: not this job (an id or custom_id); repeat for more.",
    ),
]
ExceptReason = Annotated[
    str | None,
    typer.Option(
        callback=_not_empty, help="With a filter: not jobs whose reason contains this text."
    ),
]
Text = Annotated[
    str | None,
    typer.Option(
        callback=_not_empty,
        help="Only jobs that ended, in whose prompt, URL, custom_id or reason some word begins with"
        " each of these words. Needs the archive.",
    ),
]
Metadata = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="Only jobs with this metadata; repeat for more."),
]
Workflow = Annotated[
    str | None, typer.Option(callback=_not_empty, help="Only runs of this workflow.")
]
Error = Annotated[
    str | None,
    typer.Option(
        "--error",
        metavar="ID",
        callback=_not_empty,
        help="Only jobs of this group of errors (`runqueue errors`). Needs the archive.",
    ),
]
State = Annotated[JobState | None, typer.Option(help="Only jobs in this state.")]
All = Annotated[bool, typer.Option("--all", help="All jobs that match the filters.")]
Namespace = Annotated[str, typer.Option(help="The namespace of the custom_ids.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@dataclass(frozen=True, slots=True)
class FilterOptions:
    """The options by which jobs are found."""

    group: Group = None
    batch: Batch = None
    reason: Reason = None
    since: Since = None
    until: Until = None
    text: Text = None
    metadata: Metadata = None
    workflow: Workflow = None
    error: Error = None
    account: Account = None

    @property
    def wanted(self) -> Filter:
        """The filters, checked, but for the account; a wrong one ends the command."""
        with exit_on_error():
            return Filter(
                group=self.group,
                batch=self.batch,
                reason=self.reason,
                since=self.since,
                until=self.until,
                text=self.text,
                metadata=read_entries(self.metadata or ()),
                workflow=self.workflow,
                error=self.error,
            ).checked()


@dataclass(frozen=True, slots=True)
class JobOptions(FilterOptions):
    """The options by which a command's jobs are chosen: by name, or by filter."""

    jobs: Jobs = None
    namespace: Namespace = ""
    everything: All = False
    left_out: Except = None
    except_reason: ExceptReason = None
    yes: Yes = False
    url: Url = None

    def by(self, state: JobState) -> str:
        """Return the filters in words, for jobs of a state; '' = the jobs are named."""
        if self.jobs:
            return ""
        return ", ".join(filter(None, (state.value, self.wanted.words, self.excluded)))

    def action(self, what: str, state: JobState, more: str = "") -> "OperatorAction":
        """Return what is done to the jobs, as the audit log has it; see `OperatorAction`."""
        return OperatorAction(what, self.by(state), more, self.jobs or ())

    @property
    def excluded(self) -> str:
        """What of the filters' jobs is left out, in words; '' = nothing is."""
        parts = [f"except {', '.join(self.left_out)}"] if self.left_out else []
        parts += [f"except reason with “{self.except_reason}”"] if self.except_reason else []
        return ", ".join(parts)

    def is_by_filter(self, *, filtered: bool = False) -> bool:
        """Return whether jobs are chosen by the filters; as `by_filter`."""
        filtered = filtered or self.everything or self.account is not None
        # The names that are left out may be custom_ids, too.
        namespace = "" if self.left_out else self.namespace
        by = by_filter(self.jobs, self.wanted, namespace, filtered=filtered)
        if self.excluded and not by:
            raise ended("--except and --except-reason go with a filter", Exit.USAGE)
        return by

    def kept(self, queue: Queue, found: Iterable[Job]) -> list[str]:
        """Return the ids of the found jobs, each once, without those that are left out."""
        not_these = set(named_jobs(queue, self.left_out or [], self.namespace))
        words, met = self.except_reason, set[str]()
        kept: dict[str, None] = {}
        for job in found:
            if job.id in not_these:
                met.add(job.id)
            elif words is None or not has_words(job.reason, words):
                kept[job.id] = None
        for job_id in not_these - met:
            print_err(f"runqueue: --except {job_id}: it is not among the jobs that match")
        return list(kept)

    def ids(self, queue: Queue, state: JobState, hint: str = "") -> list[str]:
        """Return the ids of the named jobs, or of those in a state that match the filters.

        If none match, the command ends, with a hint if one is given.
        """
        if not self.is_by_filter():
            return named_jobs(queue, self.jobs or [], self.namespace)
        jobs = find(queue, self.wanted._replace(state=state), self.account)
        found = self.kept(queue, jobs)
        if not found:
            typer.echo("none")
            if hint:
                print_err(f"runqueue: {hint}")
            raise typer.Exit(Exit.OK)
        return found


class OperatorAction(NamedTuple):
    """What a command does, as the audit log has it.

    Args:
        what: the action.
        by: the filter that chose the jobs, in words; '' = they were named.
        more: what else there is to say.
        named: the jobs that were named, as they were typed.
    """

    what: str
    by: str = ""
    more: str = ""
    named: Sequence[str] = ()


_FILTERS = "filters (--group, --since and others) or --all"
#: Outcomes that are reported with the job's state.
_OF_THE_STATE = {Settled.NOT_UNCONFIRMED, Settled.NOT_DEAD, Settled.NOT_ENDED_BADLY}


def by_filter(named: list[str] | None, wanted: Filter, namespace: str, *, filtered: bool) -> bool:
    """Return whether jobs are chosen by a filter, not by name; neither or both ends the command.

    Args:
        named, namespace: the names, and the namespace of those that are custom_ids.
        wanted: the filters.
        filtered: whether there is another filter, or all jobs are chosen.
    """
    filtered = filtered or wanted != Filter()
    if bool(named) == filtered:
        both = f"jobs are chosen by name or by {_FILTERS}, not by both"
        raise ended(both if filtered else f"name jobs, or choose some by {_FILTERS}", Exit.USAGE)
    if filtered and namespace:
        raise typer.BadParameter("expected with custom_ids only", param_hint="--namespace")
    return filtered


def confirm(what: str, *, yes: bool) -> None:
    """Let the user confirm an action, unless `--yes` was given; a no ends the command."""
    if yes:
        return
    if not sys.stdin.isatty():
        answer = sys.stdin.readline()
        typer.echo(f"{what}? [y/N]: ", err=True)
        if not answer:
            print_err("runqueue: stdin is closed, so nobody can confirm; give --yes")
        if answer.strip().lower() not in {"y", "yes"}:
            raise typer.Exit(Exit.USAGE)
    elif not typer.confirm(f"{what}?", err=True):
        raise typer.Exit(Exit.USAGE)


def print_settled(queue: Queue, settled: dict[str, Settled], action: OperatorAction) -> None:
    """Record and print the outcomes; the exit code reports decisions that failed."""
    done = WORDS[action.what]
    good = [job_id for job_id, outcome in settled.items() if outcome in GOOD]
    for outcome in (Settled.PUT_BACK, Settled.ENQUEUED_AGAIN):
        if count := list(settled.values()).count(outcome):
            done += f", {count:,} of them {outcome}"
    came_to = f"{done}: {action.more}" if action.more else done
    record_jobs_change(queue, action.what, good, came_to, of=len(settled), by=action.by)
    bad = [job_id for job_id, outcome in settled.items() if outcome not in GOOD]
    found = queue.get_many(bad, result=False) if action.named else ()
    names = {job.id: job.custom_id for job in found if job and job.custom_id in action.named}
    for job_id, (state, _) in zip(bad, queue.states(bad), strict=True):
        but = f", but {state}" if state and settled[job_id] in _OF_THE_STATE else ""
        print_err(f"runqueue: {names.get(job_id, job_id)}: {settled[job_id]}{but}")
    typer.echo(f"{len(settled) - len(bad):,} of {len(settled):,}: {done}")
    if bad:
        raise typer.Exit(Exit.INVALID)
