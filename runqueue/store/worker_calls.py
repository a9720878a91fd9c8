"""The worker's calls: claiming, recording, sweeping. The producer's are in `job_calls.py`.

Each makes the call of one script that a stage of the worker runs. Recording scripts take many items
in one call (`claim_items.py`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from runqueue.records.claim_items import (
    ApprovalSent,
    ClaimAnswer,
    Claimed,
    DuePoll,
    EndedOrphan,
    Finished,
    GivenBack,
    Lost,
    MaybeClaimed,
    Overdue,
    Polled,
    RunAbandoned,
    RunAccepted,
    RunAgain,
    RunDetails,
    Searched,
    Taken,
    Tick,
    ToCancel,
    Unconfirmed,
    UnconfirmedPage,
)
from runqueue.store.limits import exact
from runqueue.store.replies import (
    OfItems,
    as_arguments,
    codes,
    flat,
    of_ids,
    of_items,
    optional_int,
    page,
    permit,
    records,
    rows,
    taken,
    texts,
)
from runqueue.store.scripts import Argument, ScriptCall, load


def claim(
    account: str,
    process: str,
    claim_id: str,
    limit: int,
    tick_us: int,
    *,
    stay_idle: bool = False,
    marked: bool = True,
    receives: bool = False,
    date_us: int | None = None,
) -> ScriptCall[Taken[Claimed]]:
    """Take ready jobs for submission; see `claim.lua`.

    Args:
        account, process, claim_id, limit, tick_us: as the script has them.
        stay_idle, marked, receives: likewise.
        date_us: what the server's own clock shows at least, microseconds; None = not known.
    """

    def parse(reply: list[Any]) -> Taken[Claimed]:
        if len(reply) < 5:  # refused
            return taken(reply, ())
        items = [Claimed(job.decode(), int(n), stored) for job, n, stored in rows(reply, 5, 3)]
        # Its third field is the claim sequence; what other claiming scripts reply follows.
        return taken([*reply[:2], *reply[3:5]], items)._replace(sequence=int(reply[2]))

    flags = (int(stay_idle), int(marked), int(receives))
    date = "" if date_us is None else date_us
    arguments: list[Argument] = [process, claim_id, limit, tick_us, *flags, date]
    return ScriptCall(load("claim"), account, arguments, parse)


def poll_claim(
    account: str,
    process: str,
    limit: int,
    tick_us: int,
    lease_us: int,
    *,
    max_run_us: int = 7_200_000_000,
    max_workflow_us: int = 29_700_000_000,
    may_list: bool = False,
    ahead_us: int = 0,
    least_us: int = 0,
) -> ScriptCall[Taken[DuePoll]]:
    """Take running jobs whose poll is due, and orphans; see `poll_claim.lua`."""

    def parse(reply: list[Any]) -> Taken[DuePoll]:
        known = (row for row in rows(reply, 4, 11) if row[1] and row[4])
        return taken(reply, records(DuePoll, known))

    lists = (int(may_list), ahead_us, least_us)
    limits = (max_run_us, max_workflow_us)
    arguments: list[Argument] = [process, limit, tick_us, lease_us, *limits, *lists]
    return ScriptCall(load("poll_claim"), account, arguments, parse)


def details_claim(
    account: str, process: str, limit: int, tick_us: int, lease_us: int
) -> ScriptCall[Taken[str]]:
    """Take workflow runs whose details are to be read; see `details_claim.lua`."""

    def parse(reply: list[Any]) -> Taken[str]:
        return taken(reply, (run_id.decode() for run_id in reply[4:]))

    return ScriptCall(load("details_claim"), account, [process, limit, tick_us, lease_us], parse)


def cancel_claim(
    account: str, process: str, limit: int, tick_us: int, lease_us: int
) -> ScriptCall[Taken[ToCancel]]:
    """Take runs whose cancel is due; see `cancel_claim.lua`."""

    def parse(reply: list[Any]) -> Taken[ToCancel]:
        return taken(reply, records(ToCancel, rows(reply, 4, 5)))

    return ScriptCall(load("cancel_claim"), account, [process, limit, tick_us, lease_us], parse)


def reconcile_claim(
    account: str, process: str, limit: int, tick_us: int, lease_us: int
) -> ScriptCall[Taken[Unconfirmed]]:
    """Take unconfirmed jobs whose search is due; see `reconcile_claim.lua`."""

    def parse(reply: list[Any]) -> Taken[Unconfirmed]:
        found = taken(reply, records(Unconfirmed, rows(reply, 9, 10)))
        if found.answer is not ClaimAnswer.OK:
            return found
        return found._replace(
            recover_from_us=int(reply[4]),
            recover_since_us=int(reply[5]),
            lost_claims=int(reply[6]),
            recover_date_us=optional_int(reply[7]),
            has_deaths=reply[8] == b"1",
        )

    return ScriptCall(load("reconcile_claim"), account, [process, limit, tick_us, lease_us], parse)


def read_unconfirmed(account: str, offset: int, count: int) -> ScriptCall[UnconfirmedPage]:
    """Read a page of all unconfirmed jobs; see `read_unconfirmed.lua`."""

    def parse(reply: list[Any]) -> UnconfirmedPage:
        page = records(Unconfirmed, rows(reply, 3, 10))
        return UnconfirmedPage(int(reply[0]), optional_int(reply[1]), int(reply[2]), page)

    return ScriptCall(load("read_unconfirmed"), account, [offset, count], parse)


def _request(row: Sequence[Any] | None) -> tuple[int, str, bytes] | None:
    return None if row is None else (int(row[0]), row[1].decode(), row[2])


#: Read the attempt, the run and the stored request of jobs; None = there is no such job.
read_requests = of_ids("read_requests", lambda reply: [_request(row) for row in reply])


def _times(reply: list[Any]) -> tuple[int, list[tuple[int, int] | None]]:
    times = [None if one is None else (int(one[0]), int(one[1])) for one in reply[1:]]
    return int(reply[0]), times


#: Read the queue's clock, and when runs of ours were claimed and accepted (microseconds; None = no
#: run of ours), of 100 runs at most.
submission_times = of_ids("submission_times", _times)


def waiting_lanes(account: str, cursor: str, keys: int) -> ScriptCall[tuple[str, list[str]]]:
    """Search all keys for lanes; returns the next cursor ('0' = that was all) and names.

    Args:
        account: the account.
        cursor: '0' = from the start.
        keys: how many to read.
    """
    return ScriptCall(load("waiting_lanes"), account, [cursor, keys], page)


def read_lanes(
    account: str, names: Sequence[str], first: int, count: int
) -> ScriptCall[list[tuple[int, list[MaybeClaimed]]]]:
    """Read the jobs of lanes that lost claims may have been of, in the order of claims.

    By lane: how many ids were read, and the jobs.

    Args:
        account: the account.
        names: of lanes, as `waiting_lanes` returns them.
        first: how many ids of each are skipped.
        count: how many are read.
    """

    def parse(reply: list[Any]) -> list[tuple[int, list[MaybeClaimed]]]:
        return [(int(lane[0]), records(MaybeClaimed, rows(lane, 1, 2))) for lane in reply]

    return ScriptCall(load("read_lanes"), account, [first, count, *names], parse)


def read_waiting(
    account: str, index: str, cursor: str, count: int
) -> ScriptCall[tuple[str, list[MaybeClaimed]]]:
    """Read jobs of an index as `read_lanes` does, behind a cursor ("0" = the start, and the end).

    Args:
        account: the account.
        index: `due` or `poll`.
        cursor: of the call before.
        count: how many are read, roughly.
    """

    def parse(reply: list[Any]) -> tuple[str, list[MaybeClaimed]]:
        return reply[0].decode(), records(MaybeClaimed, rows(reply, 1, 2))

    return ScriptCall(load("read_waiting"), account, [index, cursor, count], parse)


def mark_running(
    account: str,
    items: Sequence[RunAccepted],
    *,
    by_request: bool = False,
    marked: bool = False,
    canceled: bool = False,
) -> ScriptCall[list[int]]:
    """Record runs: 1 adopted, 0 known already, 2 an orphan, 3 another job's, 4 a match that failed,
    5 adopted by correcting a match by request, or another job's answer.

    Args:
        account: the account.
        items: the runs.
        by_request: only their requests were compared: one that does not fit is no orphan.
        marked: they show the attempts' own markers, which go before what an answer said.
        canceled: of matches by request: jobs that are to be canceled take them, too. Else such a
            job takes none, for it would be canceled although it may be an equal job's.
    """
    source = 2 if marked else 3 if by_request and canceled else int(by_request)
    return ScriptCall(load("mark_running"), account, [source, *flat(items)], codes)


#: Record refused submissions.
mark_dead: OfItems[Lost, list[int]] = of_items("mark_dead", codes, lambda lost: lost[:3])


def mark_unconfirmed(
    account: str, items: Sequence[Lost], *, marked: bool = True
) -> ScriptCall[list[int]]:
    """Record submissions whose answer was lost: 1 unconfirmed, 2 so, although Redis lost its claim.

    0 = another state or attempt.

    Args:
        account: the account.
        items: the submissions.
        marked: submissions carry markers.
    """
    arguments = [int(marked), *flat(map(as_arguments, items))]
    return ScriptCall(load("mark_unconfirmed"), account, arguments, codes)


def give_back(account: str, items: Sequence[GivenBack], why: str) -> ScriptCall[list[int]]:
    """Return claims that brought no run; why = void, not_sent, busy, limited, account or later."""
    wait_us = max(item.wait_us for item in items)
    named = next((f"{item.named:g}" for item in reversed(items) if item.named), "")
    arguments = [why, wait_us, items[-1].reason, named, *flat(item[:2] for item in items)]
    return ScriptCall(load("give_back"), account, arguments, codes)


#: Say when to poll runs again.
mark_polled: OfItems[Polled, int] = of_items("mark_polled", int)
#: Record what was read of runs that had ended.
record_details: OfItems[RunDetails, int] = of_items("record_details", int)
#: Record the ends of runs.
finish: OfItems[Finished, list[int]] = of_items("finish", codes)
#: Record runs that ended badly, and have their jobs run again; see `retry_run.lua`.
retry_run: OfItems[RunAgain, list[int]] = of_items("retry_run", codes)


def record_search(
    account: str, items: Sequence[Searched], searched_us: int, spacing_us: int
) -> ScriptCall[list[int]]:
    """Record searches that found nothing: 2 not unconfirmed any more, 1 stays; see the script."""
    arguments = [searched_us, spacing_us, *flat(items)]
    return ScriptCall(load("record_search"), account, arguments, codes)


def owned_runs(
    account: str, run_ids: Sequence[str], *, except_late_runs: bool = False
) -> ScriptCall[list[str]]:
    """Read which job each run belongs to; '' = none that we know.

    Args:
        account: the account.
        run_ids: the runs, at most 1,000.
        except_late_runs: also count unowned runs that may be given to an equal job.
    """
    return ScriptCall(load("owned_runs"), account, [int(except_late_runs), *run_ids], texts)


def permits(account: str, count: int) -> ScriptCall[tuple[int, float]]:
    """Take permits for calls that are no submissions: how many, and seconds until the next try."""
    return ScriptCall(load("permits"), account, [count], permit)


def recovered(account: str, recover_from_us: int, recover_since_us: int) -> ScriptCall[bool]:
    """Report that the runs of all claims that Redis may have lost were adopted.

    Args:
        account: the account.
        recover_from_us: since when runs were listed, as `reconcile_claim` said it.
        recover_since_us: when the change of server was noticed, likewise.
    """
    return ScriptCall(load("recovered"), account, [recover_from_us, recover_since_us], bool)


def recovery_stuck(
    account: str, recover_from_us: int, recover_since_us: int, why: str, *, person: bool
) -> ScriptCall[bool]:
    """Say why a recovery does not end; True = a person is called.

    Args:
        account: the account.
        recover_from_us, recover_since_us: as of `recovered`.
        why: what keeps it from ending.
        person: call a person now, since it cannot end by itself; one is called anyway if it lasts.
    """
    arguments: list[Argument] = [recover_from_us, recover_since_us, why, int(person)]
    return ScriptCall(load("recovery_stuck"), account, arguments, bool)


def mark_maybe_claimed(
    account: str,
    job_ids: Sequence[str],
    recover_from_us: int,
    recover_since_us: int,
    *,
    marked: bool,
    known: bool = False,
) -> ScriptCall[list[int]]:
    """Have jobs searched for whose claims Redis may have lost: 1 unconfirmed, 2 as soon as its run
    fails or its upload is accepted, 0 it waits no more, or waits for a time still to come.

    Args:
        account: the account.
        job_ids: jobs that may own a run which no job owns.
        recover_from_us, recover_since_us: as of `recovered`; nothing is done, and nothing returned,
            once that recovery is over.
        marked: submissions carry markers.
        known: not those that were enqueued since the change of server was noticed.
    """
    flags = int(marked), int(known)
    arguments: list[Argument] = [recover_from_us, recover_since_us, *flags, *job_ids]
    return ScriptCall(load("mark_maybe_claimed"), account, arguments, codes)


#: Forget orphans that are over.
drop_orphans = of_ids("drop_orphans", int)
#: Record orphans that were seen to be over: they take no slot any more.
orphans_over: OfItems[EndedOrphan, int] = of_items("orphans_over", int)
#: End jobs whose run's end was never confirmed; see `abandon_run.lua`.
abandon_run: OfItems[RunAbandoned, list[int]] = of_items("abandon_run", codes, as_arguments)
#: Record what became of approvals.
record_approval: OfItems[ApprovalSent, int] = of_items("record_approval", int)
#: Have runs canceled that took longer than they may; see `cancel_overdue.lua`.
cancel_overdue: OfItems[Overdue, int] = of_items("cancel_overdue", int)


def poll_now(account: str, job_ids: Sequence[str], after_us: int = 0) -> ScriptCall[int]:
    """Make the polls of jobs due at once, or after a while."""
    return ScriptCall(load("poll_now"), account, [after_us, *job_ids], int)


def remove_consumer(account: str, stage: str, process: str) -> ScriptCall[int]:
    """Say that a consumer is not active any more."""
    return ScriptCall(load("remove_consumer"), account, [stage, process], int)


def heartbeat(
    account: str,
    process: str,
    lease_us: int,
    sequence: int,
    passed_us: int,
    *,
    first: bool,
    reads: tuple[int, int, str] = (-1, -1, ""),
    date_us: int | None = None,
) -> ScriptCall[int]:
    """Renew a process's lease and report what it remembers; see `heartbeat.lua`.

    Args:
        account: the account.
        process: the process's name.
        lease_us: how long the lease is to hold.
        sequence: the highest claim sequence the process saw; -1 = it saw none yet.
        passed_us: what the process's own clock shows, which is never set.
        first: whether the name is new.
        reads: how long ago the process had a read answered, and since when all of its reads fail
            (microseconds, -1 = not at all), and with what.
        date_us: what the server's own clock shows at least, microseconds; None = not known.

    Returns:
        The claim sequence; -2 = the lease holds, but the server is not confirmed; -1 = it was lost.
    """
    arguments: list[Argument] = [process, lease_us, int(first), sequence, passed_us, *reads]
    arguments.append("" if date_us is None else date_us)
    return ScriptCall(load("heartbeat"), account, arguments, int)


def bye(account: str, process: str) -> ScriptCall[int]:
    """End a process's lease in good order; the reply is how many claims it still held."""
    return ScriptCall(load("bye"), account, [process], int)


def tick(
    account: str, process: str, interval_us: int, passed_us: int = 0, *, woken: bool
) -> ScriptCall[Tick]:
    """Take the tick's slot, if it is free, or act on a wake-up; see `tick.lua`."""

    def parse(reply: list[Any]) -> Tick:
        pairs = {stage.decode(): int(count) for stage, count in rows(reply, 2, 2)}
        return Tick(reply[0].decode(), int(reply[1]), pairs)

    return ScriptCall(load("tick"), account, [process, int(woken), interval_us, passed_us], parse)


def sweep(account: str, script: str, *arguments: Argument) -> ScriptCall[int]:
    """Run one of the sweep's scripts; the reply is how many entries it walked."""
    return ScriptCall(load(script), account, arguments, int)


def seed_limits(
    account: str, limits: Mapping[str, float], *, first: bool = True
) -> ScriptCall[dict[str, float]]:
    """Write the limits of this worker's environment.

    Args:
        account: the account.
        limits: by name.
        first: whether the worker has just started; else it only fills in what Redis does not know.

    Returns:
        The former values of those that another worker's environment had set otherwise.
    """

    def parse(reply: list[bytes]) -> dict[str, float]:
        return {name.decode(): float(value) for name, value in rows(reply, 0, 2)}

    arguments = flat((name, exact(value)) for name, value in limits.items())
    return ScriptCall(load("seed_limits"), account, [int(first), *arguments], parse)
