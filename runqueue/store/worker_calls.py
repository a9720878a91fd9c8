"""The worker's calls: claiming, recording, sweeping. The producer's are in `job_calls.py`.

Pure functions, one for each script that a stage of the worker runs. Recording scripts take many
items in one call (`claim_items.py`).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from runqueue.records.claim_items import (
    ClaimAnswer,
    Claimed,
    Doubtful,
    DuePoll,
    Finished,
    GivenBack,
    Lost,
    Overdue,
    Polled,
    RunAccepted,
    RunAgain,
    RunGivenUp,
    Searched,
    Taken,
    Tick,
    ToCancel,
    UnconfirmedPage,
)
from runqueue.request.run_limits import WORKFLOW_RUN_US
from runqueue.store.limits import exact
from runqueue.store.scripts import Argument, ScriptCall, load


def _flat(items: Iterable[tuple[Any, ...]]) -> list[Argument]:
    arguments: list[Argument] = []
    for item in items:
        arguments += item
    return arguments


def _codes(reply: Any) -> list[int]:
    return list(reply)


def claim(
    account: str,
    process: str,
    claim_id: str,
    want: int,
    tick_us: int,
    *,
    linger: bool = False,
    marked: bool = True,
    receives: bool = False,
    date_us: int | None = None,
) -> ScriptCall[Taken[Claimed]]:
    """Take ready jobs for submission; see `claim.lua`.

    Args:
        account, process, claim_id, want, tick_us, linger, marked, receives: as the script has them.
        date_us: what the server's own clock shows at least, microseconds; None = not known.
    """

    def parse(reply: list[Any]) -> Taken[Claimed]:
        answer = ClaimAnswer(reply[0].decode())
        if answer is not ClaimAnswer.OK:
            return Taken(answer, int(reply[1]))
        items = [
            Claimed(reply[i].decode(), int(reply[i + 1]), reply[i + 2])
            for i in range(5, len(reply), 3)
        ]
        return Taken(answer, int(reply[1]), int(reply[3]), bool(reply[4]), int(reply[2]), items)

    flags = (int(linger), int(marked), int(receives))
    date = "" if date_us is None else date_us
    arguments: list[Argument] = [process, claim_id, want, tick_us, *flags, date]
    return ScriptCall(load("claim"), account, arguments, parse)


def poll_claim(
    account: str,
    process: str,
    want: int,
    tick_us: int,
    lease_us: int,
    *,
    max_run_us: int = 7_200_000_000,
    may_list: bool = False,
    ahead_us: int = 0,
    least_us: int = 0,
) -> ScriptCall[Taken[DuePoll]]:
    """Take running jobs whose poll is due, and strays; see `poll_claim.lua`."""

    def parse(reply: list[Any]) -> Taken[DuePoll]:
        if reply[0] != b"ok":
            return Taken(ClaimAnswer(reply[0].decode()), int(reply[1]))
        items = [
            DuePoll(
                reply[i].decode(),
                int(reply[i + 1]),
                reply[i + 2].decode(),
                reply[i + 3].decode(),
                int(reply[i + 4]),
                int(reply[i + 5]) if reply[i + 5] else None,
                reply[i + 6].decode(),
                int(reply[i + 7] or 0),
                int(reply[i + 8] or 0),
                int(reply[i + 9] or 0),
            )
            for i in range(4, len(reply), 10)
            if reply[i + 1] and reply[i + 4]
        ]
        return Taken(ClaimAnswer.OK, int(reply[1]), int(reply[2]), bool(reply[3]), 0, items)

    lists = (int(may_list), ahead_us, least_us)
    arguments: list[Argument] = [process, want, tick_us, lease_us, max_run_us, *lists]
    arguments.append(max(max_run_us, WORKFLOW_RUN_US))
    return ScriptCall(load("poll_claim"), account, arguments, parse)


def cancel_claim(
    account: str, process: str, want: int, tick_us: int, lease_us: int
) -> ScriptCall[Taken[ToCancel]]:
    """Take runs whose cancel is due; see `cancel_claim.lua`."""

    def parse(reply: list[Any]) -> Taken[ToCancel]:
        if reply[0] != b"ok":
            return Taken(ClaimAnswer(reply[0].decode()), int(reply[1]))
        now_us = int(reply[1])
        items = [
            ToCancel(
                reply[i].decode(),
                int(reply[i + 1]),
                reply[i + 2].decode(),
                now_us - int(reply[i + 3]),
            )
            for i in range(4, len(reply), 4)
        ]
        return Taken(ClaimAnswer.OK, now_us, int(reply[2]), bool(reply[3]), 0, items)

    return ScriptCall(load("cancel_claim"), account, [process, want, tick_us, lease_us], parse)


def reconcile_claim(
    account: str, process: str, want: int, tick_us: int, lease_us: int
) -> ScriptCall[Taken[Doubtful]]:
    """Take unconfirmed jobs whose look is due; see `reconcile_claim.lua`."""

    def parse(reply: list[Any]) -> Taken[Doubtful]:
        if reply[0] != b"ok":
            return Taken(ClaimAnswer(reply[0].decode()), int(reply[1]))
        return Taken(
            ClaimAnswer.OK,
            int(reply[1]),
            int(reply[2]),
            bool(reply[3]),
            items=_doubts(reply, 9),
            recover_from_us=int(reply[4]),
            recover_since_us=int(reply[5]),
            lost_claims=int(reply[6]),
            recover_date_us=int(reply[7]) if reply[7] else None,
            has_deaths=reply[8] == b"1",
        )

    return ScriptCall(load("reconcile_claim"), account, [process, want, tick_us, lease_us], parse)


def _doubts(reply: list[Any], first: int) -> list[Doubtful]:
    """Read what `lib/jobs/doubts.lua` tells of unconfirmed jobs."""
    return [
        Doubtful(
            reply[i].decode(),
            int(reply[i + 1]),
            int(reply[i + 2]),
            int(reply[i + 3]) if reply[i + 3] else None,
            reply[i + 4] == b"1",
            reply[i + 5].decode(),
            reply[i + 6].decode(),
            reply[i + 7],
            reply[i + 8] == b"1",
            int(reply[i + 9]) if reply[i + 9] else None,
        )
        for i in range(first, len(reply), 10)
    ]


def read_doubts(account: str, offset: int, count: int) -> ScriptCall[UnconfirmedPage]:
    """Read a page of all unconfirmed jobs; see `read_doubts.lua`."""

    def parse(reply: list[Any]) -> UnconfirmedPage:
        in_flight = int(reply[1]) if reply[1] else None
        return UnconfirmedPage(int(reply[0]), in_flight, int(reply[2]), _doubts(reply, 3))

    return ScriptCall(load("read_doubts"), account, [offset, count], parse)


def read_requests(
    account: str, job_ids: Sequence[str]
) -> ScriptCall[list[tuple[int, str, bytes] | None]]:
    """Read the attempt, the run and the stored request of jobs; None = there is no such job."""

    def parse(reply: list[Any]) -> list[tuple[int, str, bytes] | None]:
        return [None if one is None else (int(one[0]), one[1].decode(), one[2]) for one in reply]

    return ScriptCall(load("read_requests"), account, list(job_ids), parse)


def submission_times(
    account: str, run_ids: Sequence[str]
) -> ScriptCall[tuple[int, list[tuple[int, int] | None]]]:
    """Tell when runs of ours were claimed and accepted, and the queue's clock; microseconds.

    Args:
        account: the account.
        run_ids: the runs, at most 100.
    """

    def parse(reply: list[Any]) -> tuple[int, list[tuple[int, int] | None]]:
        times = [None if one is None else (int(one[0]), int(one[1])) for one in reply[1:]]
        return int(reply[0]), times

    return ScriptCall(load("submission_times"), account, list(run_ids), parse)


def waiting_lanes(account: str, cursor: str, keys: int) -> ScriptCall[tuple[str, list[str]]]:
    """Look for lanes through all keys; returns the next cursor ('0' = that was all) and names.

    Args:
        account: the account.
        cursor: '0' = from the start.
        keys: how many to look at.
    """

    def parse(reply: list[bytes]) -> tuple[str, list[str]]:
        return reply[0].decode(), [raw.decode() for raw in reply[1:]]

    return ScriptCall(load("waiting_lanes"), account, [cursor, keys], parse)


def read_lanes(
    account: str, names: Sequence[str], first: int, count: int, *, newest: bool = False
) -> ScriptCall[list[tuple[int, list[str], list[str]]]]:
    """Read the jobs of lanes that lost claims may have been of, in the order of claims.

    By lane: how many ids were read, the jobs, and those that are looked for later
    (`suspect_lost`).

    Args:
        account: the account.
        names: of lanes, as `waiting_lanes` tells them.
        first: how many ids of each are passed over.
        count: how many are read.
        newest: read lanes from their ends, as far as jobs came to them since claims may have been
            lost.
    """

    def parse(reply: list[Any]) -> list[tuple[int, list[str], list[str]]]:
        return [(int(ids), _texts(waiting), _texts(later)) for ids, waiting, later in reply]

    return ScriptCall(load("read_lanes"), account, [int(newest), first, count, *names], parse)


def read_waiting(
    account: str, index: str, cursor: str, count: int
) -> ScriptCall[tuple[str, list[str], list[str]]]:
    """Read jobs of an index as `read_lanes` does, behind a cursor ("0" = the start, and the end).

    Args:
        account: the account.
        index: `due`, `suspects` or `poll`.
        cursor: of the call before.
        count: how many are read, roughly.
    """

    def parse(reply: list[Any]) -> tuple[str, list[str], list[str]]:
        return reply[0].decode(), _texts(reply[1]), _texts(reply[2])

    return ScriptCall(load("read_waiting"), account, [index, cursor, count], parse)


def _texts(raw: Sequence[bytes]) -> list[str]:
    return [one.decode() for one in raw]


def mark_running(
    account: str,
    items: Sequence[RunAccepted],
    *,
    guess: bool = False,
    marked: bool = False,
    canceled: bool = False,
) -> ScriptCall[list[int]]:
    """Record runs: 1 adopted, 0 known already, 2 a stray, 3 another job's, 4 a guess that failed,
    5 adopted by correcting a guess, or another job's answer.

    Args:
        account: the account.
        items: the runs.
        guess: they were told by their requests only: one that does not fit is nobody's stray.
        marked: they show the attempts' own markers, which go before what an answer said.
        canceled: of guesses: jobs that are to be canceled take them, too. Else such a job takes
            none, for it would be canceled although it may be an equal job's.
    """
    told = 2 if marked else 3 if guess and canceled else int(guess)
    return ScriptCall(load("mark_running"), account, [told, *_flat(items)], _codes)


def mark_dead(account: str, items: Sequence[Lost]) -> ScriptCall[list[int]]:
    """Record refused submissions."""
    return ScriptCall(load("mark_dead"), account, _flat(item[:3] for item in items), _codes)


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
    arguments = [int(marked), *_flat((*item[:3], int(item.trouble)) for item in items)]
    return ScriptCall(load("mark_unconfirmed"), account, arguments, _codes)


def give_back(account: str, items: Sequence[GivenBack], why: str) -> ScriptCall[list[int]]:
    """Return claims that brought no run; why = void, not_sent, busy, limited, account or later."""
    wait_us = max(item.wait_us for item in items)
    named = next((f"{item.named:g}" for item in reversed(items) if item.named), "")
    arguments = [why, wait_us, items[-1].reason, named, *_flat(item[:2] for item in items)]
    return ScriptCall(load("give_back"), account, arguments, _codes)


def mark_polled(account: str, items: Sequence[Polled]) -> ScriptCall[int]:
    """Say when to look at runs again."""
    return ScriptCall(load("mark_polled"), account, _flat(items), int)


def finish(account: str, items: Sequence[Finished]) -> ScriptCall[list[int]]:
    """Record the ends of runs."""
    return ScriptCall(load("finish"), account, _flat(items), _codes)


def retry_run(account: str, items: Sequence[RunAgain]) -> ScriptCall[list[int]]:
    """Record runs that ended badly, and have their jobs run again; see `retry_run.lua`."""
    return ScriptCall(load("retry_run"), account, _flat(items), _codes)


def record_search(
    account: str, items: Sequence[Searched], searched_us: int, spacing_us: int
) -> ScriptCall[list[int]]:
    """Record searches that found nothing: 2 not unconfirmed any more, 1 stays; see the script."""
    arguments = [searched_us, spacing_us, *_flat(items)]
    return ScriptCall(load("record_search"), account, arguments, _codes)


def bound_runs(
    account: str, run_ids: Sequence[str], *, but_spares: bool = False
) -> ScriptCall[list[str]]:
    """Tell which job each run belongs to; '' = none that we know.

    Args:
        account: the account.
        run_ids: the runs, at most 1,000.
        but_spares: count runs that may be given to an equal job as nobody's.
    """
    return ScriptCall(
        load("bound_runs"),
        account,
        [int(but_spares), *run_ids],
        lambda reply: [raw.decode() for raw in reply],
    )


def permits(account: str, want: int) -> ScriptCall[tuple[int, float]]:
    """Take permits for calls that are no submissions: how many, and seconds until asking again."""

    def parse(reply: list[Any]) -> tuple[int, float]:
        now_us, granted, next_us = map(int, reply)
        return granted, max(0.0, (next_us - now_us) / 1e6)

    return ScriptCall(load("permits"), account, [want], parse)


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


def suspect_lost(
    account: str,
    job_ids: Sequence[str],
    recover_from_us: int,
    recover_since_us: int,
    *,
    marked: bool,
    known: bool = False,
) -> ScriptCall[list[int]]:
    """Have jobs looked for whose claims Redis may have lost: 1 unconfirmed, 2 as soon as its run
    fails or its upload is accepted, 0 it waits no more, or waits for a time still to come.

    Args:
        account: the account.
        job_ids: jobs that may own a run which no job owns.
        recover_from_us, recover_since_us: as of `recovered`; nothing is done, and nothing returned,
            once that recovery is over.
        marked: submissions carry markers.
        known: not those that were handed in since the change of server was noticed.
    """
    flags = int(marked), int(known)
    arguments: list[Argument] = [recover_from_us, recover_since_us, *flags, *job_ids]
    return ScriptCall(load("suspect_lost"), account, arguments, _codes)


def drop_strays(account: str, run_ids: Sequence[str]) -> ScriptCall[int]:
    """Forget strays that are over."""
    return ScriptCall(load("drop_strays"), account, list(run_ids), int)


def strays_over(account: str, run_ids: Sequence[str]) -> ScriptCall[int]:
    """Record strays that were seen to be over: they take no slot any more."""
    return ScriptCall(load("strays_over"), account, list(run_ids), int)


def give_up(account: str, items: Sequence[RunGivenUp]) -> ScriptCall[list[int]]:
    """End jobs whose run's end was never confirmed; see `give_up.lua`."""
    arguments = _flat((job_id, run_id, int(is_over)) for job_id, run_id, is_over in items)
    return ScriptCall(load("give_up"), account, arguments, _codes)


def cancel_overdue(account: str, items: Sequence[Overdue]) -> ScriptCall[int]:
    """Have runs canceled that took longer than they may; see `cancel_overdue.lua`."""
    return ScriptCall(load("cancel_overdue"), account, _flat(items), int)


def poll_now(account: str, job_ids: Sequence[str], after_us: int = 0) -> ScriptCall[int]:
    """Make the polls of jobs due at once, or after a while."""
    return ScriptCall(load("poll_now"), account, [after_us, *job_ids], int)


def leave_board(account: str, kind: str, process: str) -> ScriptCall[int]:
    """Take a pump off the board."""
    return ScriptCall(load("leave_board"), account, [kind, process], int)


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
    """Renew a process's lease and tell what it remembers; see `heartbeat.lua`.

    Args:
        account: the account.
        process: the process's name.
        lease_us: how long the lease is to hold.
        sequence: the highest claim sequence the process saw; -1 = it saw none yet.
        passed_us: what the process's own clock shows, which nobody sets.
        first: whether the name is new.
        reads: how long ago the process had a read answered, and since when all of its reads fail
            (microseconds, -1 = not at all), and with what.
        date_us: what the server's own clock shows at least, microseconds; None = not known.

    Returns:
        The claim sequence; -2 = the lease holds, but the server is not trusted; -1 = it was lost.
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
        pairs = {reply[i].decode(): int(reply[i + 1]) for i in range(2, len(reply), 2)}
        return Tick(reply[0].decode(), int(reply[1]), pairs)

    return ScriptCall(load("tick"), account, [process, int(woken), interval_us, passed_us], parse)


def sweep(account: str, script: str, *arguments: Argument) -> ScriptCall[int]:
    """Run one of the sweep's scripts; the reply is how many entries it walked."""
    return ScriptCall(load(script), account, arguments, int)


def migrate(account: str, limit: int) -> ScriptCall[bool]:
    """Bring an account's state up to this version's layout; True = done. See `migrate.lua`."""
    return ScriptCall(load("migrate"), account, [limit], bool)


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
        return {reply[i].decode(): float(reply[i + 1]) for i in range(0, len(reply), 2)}

    arguments = _flat((name, exact(value)) for name, value in limits.items())
    return ScriptCall(load("seed_limits"), account, [int(first), *arguments], parse)
