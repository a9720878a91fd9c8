"""The worker's calls: claiming, recording, sweeping. The producer's are in `calls.py`.

Pure functions, one for each script that a stage of the worker runs. Recording scripts take many
items in one call; the tuples' fields stand in the order of the script's contract.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from runqueue.scripts import Argument, Call, load


class Claimed(NamedTuple):
    """A job taken for submission."""

    job_id: str
    attempt: int
    stored: bytes

    def __repr__(self) -> str:
        return f"Claimed({self.job_id!r}, {self.attempt}, {len(self.stored)} bytes)"


class Due(NamedTuple):
    """A running job to look at."""

    job_id: str
    attempt: int
    run_id: str
    run_status: str
    started_us: int
    deadline_us: int | None


class ToCancel(NamedTuple):
    """A run to cancel."""

    job_id: str
    attempt: int
    run_id: str
    since_us: int


class Answer(StrEnum):
    """What a claiming script says; all but `ok` end the pump."""

    OK = "ok"
    STALE = "stale"
    FENCED = "fenced"
    MOVED = "moved"


class Taken(NamedTuple):
    """The reply of a claiming script.

    Args:
        now_us: the server's time.
        next_us: when asking again makes sense (a permit, a hold's end, a poll); 0 = not known.
        left: nothing is there to do and the pump is off the board.
        sequence: the claim sequence after this claim (submit only).
    """

    answer: Answer
    now_us: int
    next_us: int = 0
    left: bool = True
    sequence: int = 0
    items: Sequence[Any] = ()


class Accepted(NamedTuple):
    """A submission that brought a run."""

    job_id: str
    attempt: int
    run_id: str
    run_status: str
    poll_after_us: int


class Lost(NamedTuple):
    """A submission that is dead or unconfirmed, and why."""

    job_id: str
    attempt: int
    reason: str


class Polled(NamedTuple):
    """A run that goes on; run_status is '' when it is as before."""

    job_id: str
    attempt: int
    run_status: str
    next_after_us: int


class Finished(NamedTuple):
    """A run that is over; result is the API's answer as it came."""

    job_id: str
    attempt: int
    run_id: str
    state: str
    run_status: str
    reason: str
    result: bytes

    def __repr__(self) -> str:
        return f"Finished({self.job_id!r}, {self.attempt}, {self.run_id!r}, {self.state!r})"


class GivenBack(NamedTuple):
    """A claim whose submission surely created no run, and what the server said to that."""

    job_id: str
    attempt: int
    wait_us: int = 0
    reason: str = ""


def _flat(items: Iterable[tuple[Any, ...]]) -> list[Argument]:
    arguments: list[Argument] = []
    for item in items:
        arguments += item
    return arguments


def _codes(reply: Any) -> list[int]:
    return list(reply)


def claim(
    account: str, process: str, claim_id: str, want: int, tick_us: int, *, linger: bool = False
) -> Call[Taken]:
    """Take ready jobs for submission; see `claim.lua`."""

    def parse(reply: list[Any]) -> Taken:
        answer = Answer(reply[0].decode())
        if answer is not Answer.OK:
            return Taken(answer, int(reply[1]))
        items = [
            Claimed(reply[i].decode(), int(reply[i + 1]), reply[i + 2])
            for i in range(5, len(reply), 3)
        ]
        return Taken(answer, int(reply[1]), int(reply[3]), bool(reply[4]), int(reply[2]), items)

    return Call(load("claim"), account, [process, claim_id, want, tick_us, int(linger)], parse)


def poll_claim(account: str, process: str, want: int, tick_us: int, lease_us: int) -> Call[Taken]:
    """Take running jobs whose poll is due; see `poll_claim.lua`."""

    def parse(reply: list[Any]) -> Taken:
        if reply[0] != b"ok":
            return Taken(Answer(reply[0].decode()), int(reply[1]))
        items = [
            Due(
                reply[i].decode(),
                int(reply[i + 1]),
                reply[i + 2].decode(),
                reply[i + 3].decode(),
                int(reply[i + 4]),
                int(reply[i + 5]) if reply[i + 5] else None,
            )
            for i in range(4, len(reply), 6)
            if reply[i + 1] and reply[i + 4]
        ]
        return Taken(Answer.OK, int(reply[1]), int(reply[2]), bool(reply[3]), 0, items)

    return Call(load("poll_claim"), account, [process, want, tick_us, lease_us], parse)


def cancel_claim(account: str, process: str, want: int, tick_us: int, lease_us: int) -> Call[Taken]:
    """Take runs whose cancel is due; see `cancel_claim.lua`."""

    def parse(reply: list[Any]) -> Taken:
        if reply[0] != b"ok":
            return Taken(Answer(reply[0].decode()), int(reply[1]))
        items = [
            ToCancel(reply[i].decode(), int(reply[i + 1]), reply[i + 2].decode(), int(reply[i + 3]))
            for i in range(4, len(reply), 4)
        ]
        return Taken(Answer.OK, int(reply[1]), int(reply[2]), bool(reply[3]), 0, items)

    return Call(load("cancel_claim"), account, [process, want, tick_us, lease_us], parse)


def mark_running(account: str, items: Sequence[Accepted]) -> Call[list[int]]:
    """Record accepted submissions: 1 adopted, 0 known already, 2 a stray."""
    return Call(load("mark_running"), account, _flat(items), _codes)


def mark_dead(account: str, items: Sequence[Lost]) -> Call[list[int]]:
    """Record refused submissions."""
    return Call(load("mark_dead"), account, _flat(items), _codes)


def mark_unconfirmed(account: str, items: Sequence[Lost]) -> Call[list[int]]:
    """Record submissions whose answer was lost."""
    return Call(load("mark_unconfirmed"), account, _flat(items), _codes)


def give_back(account: str, items: Sequence[GivenBack], why: str) -> Call[list[int]]:
    """Return claims to the heads of their lanes; why = void, not_sent, busy or account."""
    wait_us = max(item.wait_us for item in items)
    arguments = [why, wait_us, items[-1].reason, *_flat(item[:2] for item in items)]
    return Call(load("give_back"), account, arguments, _codes)


def mark_polled(account: str, items: Sequence[Polled]) -> Call[int]:
    """Say when to look at runs again."""
    return Call(load("mark_polled"), account, _flat(items), int)


def finish(account: str, items: Sequence[Finished]) -> Call[list[int]]:
    """Record the ends of runs."""
    return Call(load("finish"), account, _flat(items), _codes)


def give_up(account: str, items: Sequence[tuple[str, str]]) -> Call[list[int]]:
    """End jobs (id, run_id) whose cancel was never confirmed."""
    return Call(load("give_up"), account, _flat(items), _codes)


def poll_now(account: str, job_ids: Sequence[str]) -> Call[int]:
    """Make the polls of jobs due at once."""
    return Call(load("poll_now"), account, list(job_ids), int)


def leave_board(account: str, kind: str, process: str) -> Call[int]:
    """Take a pump off the board."""
    return Call(load("leave_board"), account, [kind, process], int)


def heartbeat(
    account: str, process: str, lease_us: int, sequence: int = 0, *, first: bool
) -> Call[int]:
    """Renew a process's lease and tell what it remembers; see `heartbeat.lua`.

    Args:
        account: the account.
        process: the process's name.
        lease_us: how long the lease is to hold.
        sequence: the highest claim sequence the process saw.
        first: whether the name is new.

    Returns:
        The claim sequence; -1 = the lease was lost.
    """
    arguments: list[Argument] = [process, lease_us, int(first), sequence]
    return Call(load("heartbeat"), account, arguments, int)


def bye(account: str, process: str) -> Call[int]:
    """End a process's lease in good order; the reply is how many claims it still held."""
    return Call(load("bye"), account, [process], int)


class Tick(NamedTuple):
    """What the tick says: `wait`, `nudge`, `passed`, or `send` with messages by kind."""

    answer: str
    now_us: int
    messages: Mapping[str, int]


def tick(account: str, process: str, interval_us: int, *, woken: bool) -> Call[Tick]:
    """Take the tick's slot, if it is free, or act on a wake-up; see `tick.lua`."""

    def parse(reply: list[Any]) -> Tick:
        pairs = {reply[i].decode(): int(reply[i + 1]) for i in range(2, len(reply), 2)}
        return Tick(reply[0].decode(), int(reply[1]), pairs)

    return Call(load("tick"), account, [process, int(woken), interval_us], parse)


def sweep(account: str, script: str, *arguments: Argument) -> Call[int]:
    """Run one of the sweep's scripts; the reply is how many entries it walked."""
    return Call(load(script), account, arguments, int)


def seed_limits(account: str, limits: Mapping[str, float]) -> Call[Any]:
    """Write the limits of this worker's environment."""
    return Call(
        load("seed_limits"),
        account,
        _flat((name, f"{value:g}") for name, value in limits.items()),
        lambda reply: reply,
    )
