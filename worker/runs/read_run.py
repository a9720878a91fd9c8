"""Reading one run; and whether it alone cannot be read, while the server answers other reads.

A run whose GET always fails (a parameter that the server cannot convert back, an answer that never
arrives whole) would keep its slot for ever, so its time limit holds whatever the GET says. While no
read is answered at all, nothing is known of any run: most of them end well meanwhile.
"""

import re
from typing import NamedTuple

from api_client import ReadClass, RunReading
from api_client.answers.false_failures import FALSELY_FAILING_VERSIONS, looks_completed, reason_for
from api_client.answers.occupied import says_occupied
from api_client.answers.parts import ended_ago
from runqueue.records.job import STATES
from worker.process.account import AccountRuntime

#: Seconds one GET may take.
GET_SECONDS = 12.0
#: Seconds that the permit for a further read may take.
PERMIT_SECONDS = 5.0

# Tuples: a set would call `Enum.__hash__`, which is Python.
_ANSWERED = (ReadClass.RUN, ReadClass.NOT_FOUND)
_FAILED = (ReadClass.ACCOUNT, ReadClass.TROUBLE)
#: How the name of a browser session begins.
_SESSION = b'"pbs_'
_NUMBER = re.compile(r"\d*$")


async def read_run(account: AccountRuntime, run_id: str) -> RunReading:
    """Read a run once, and take note of how the account's reads fare."""
    with account.metrics.timed("get") as timer:
        reading = await account.client.get_run(run_id, GET_SECONDS)
        timer.status = reading.status_code
    if reading.outcome in _ANSWERED:
        account.reads.answered()
    else:
        account.reads.failed(reading.status_code)
    return reading


def has_failed(reading: RunReading) -> bool:
    """Say whether a read showed nothing of its run, and the server did not ask to be left alone."""
    return reading.outcome in _FAILED


async def is_unreadable(account: AccountRuntime, run_id: str) -> bool:
    """Say whether a run alone cannot be read now, or is gone; False also where that is not known.

    Raises:
        RedisError: Redis is away, and nothing was read.
    """
    if not await account.permit_within(PERMIT_SECONDS):
        return False
    reading = await read_run(account, run_id)
    if not has_failed(reading):
        return reading.outcome is ReadClass.NOT_FOUND
    again = await read_again(account, run_id)
    return again is not None and has_failed(again)


async def read_again(account: AccountRuntime, run_id: str) -> RunReading | None:
    """Read a run once more after a read of it failed, if the server answers other reads.

    Returns:
        The second reading: if it failed, too, then this run alone cannot be read. None = nothing
        was learned, since no read is answered.

    Raises:
        RedisError: Redis is away, and nothing was read.
    """
    if not await answers_reads(account, run_id):
        return None
    if not await account.permit_within(PERMIT_SECONDS):
        return None
    return await read_run(account, run_id)


async def answers_reads(account: AccountRuntime, run_id: str) -> bool:
    """Say whether the server answers reads now; `run_id` is of a run that could not be read.

    Raises:
        RedisError: Redis is away, and nothing was read.
    """

    async def read_another() -> None:
        # No run has this id: an answer that says so is an answer.
        if await account.permit_within(PERMIT_SECONDS):
            await read_run(account, _NUMBER.sub("0", run_id, count=1))

    return await account.reads.are_answered_now(read_another)


# What a terminal status that a GET shows means for the job: whether it is final, and true.

#: Seconds after which the bad end of a workflow's run is believed. Before, it may be that its
#: finally block is about to begin, or that a retry by its `retry_policy` is not decided yet: for a
#: moment its status is terminal then, without a pending retry (`tests/real/test_run_ends.py`).
SETTLE_SECONDS = 5.0
#: Seconds after a run's end for which its browser session may be occupied still: the server gives
#: it back once it has stored what the run recorded, and sends the webhook after that.
RELEASE_SECONDS = 60.0
#: Seconds after a run's end for which the version of a server is read that does not answer.
ASKED_FOR_SECONDS = 600.0


class End(NamedTuple):
    """The end of a run.

    Args:
        is_settled: whether it can be recorded; else the run is to be read again.
        why_completed: why it completed although Skyvern calls it failed; '' = as it is called.
    """

    is_settled: bool = True
    why_completed: str = ""


_SETTLED = End()


async def end_of(account: AccountRuntime, reading: RunReading, session: str = "") -> End:
    """Say what the terminal status of a run means.

    Args:
        account: where it is from.
        reading: a run that is over.
        session: the browser session that its job uses; '' = none is known.

    Raises:
        RedisError: Redis is away, and the server's version was not read.
    """
    has_session = session or _SESSION in reading.body
    if has_session and await _has_its_session(account, reading, session):
        return End(is_settled=False)
    if not is_bad(reading.run_status or ""):
        return _SETTLED
    parsed = reading.shown
    ago = ended_ago(parsed, account.runs_clock(reading.server_date))
    # An end that lies further ahead is of another clock, and says nothing of when it was.
    if _is_workflow(reading) and ago is not None and abs(ago) < SETTLE_SECONDS:
        return End(is_settled=False)
    if not looks_completed(parsed):
        return End()
    version = await account.server_version()
    if version is None:
        return End(is_settled=ago is None or abs(ago) > ASKED_FOR_SECONDS)
    return End(why_completed=reason_for(version) if version in FALSELY_FAILING_VERSIONS else "")


async def _has_its_session(account: AccountRuntime, reading: RunReading, session: str) -> bool:
    """Say whether a run that ended just now still has its browser session.

    Its job keeps the session's key that long: the next run would fail. A task is shown without its
    session (seen on 1.0.56), so the job's own counts.
    """
    if says_occupied(reading.failure_reason):
        return False
    shown = reading.shown
    ago = ended_ago(shown, account.runs_clock(reading.server_date))
    session = session or shown.get("browser_session_id") or ""
    if not isinstance(session, str) or not session or ago is None or abs(ago) > RELEASE_SECONDS:
        return False
    if not await account.permit_within(PERMIT_SECONDS):
        return True
    return await account.client.session_occupant(session, GET_SECONDS) is not None


def is_bad(status: str) -> bool:
    """Say whether a run ended badly, which is what its job's `retry` is about."""
    return STATES.get(status, "failed") == "failed"


def _is_workflow(reading: RunReading) -> bool:
    return (reading.run_id or "").startswith("wr_")
