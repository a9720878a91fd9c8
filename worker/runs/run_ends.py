"""What a terminal status that a GET shows means for the job: whether it is final, and true."""

from typing import Any, NamedTuple

from api_client import RunReading
from api_client.answers.false_failures import VERSIONS, looks_completed, note_on
from api_client.answers.parts import parse_json
from api_client.answers.run_times import ended_ago
from runqueue.records.run_ends import STATES
from worker.process.account import AccountLink

#: Seconds after which the bad end of a workflow's run is believed. Before, it may be that its
#: finally block is about to begin, or that a retry by its `retry_policy` is not decided yet: for a
#: moment its status is terminal then, without a pending retry (`tests/real/test_run_ends.py`).
SETTLE_SECONDS = 5.0
#: Seconds after a run's end for which the version of a server is read that does not answer.
ASKED_FOR_SECONDS = 600.0


class End(NamedTuple):
    """The end of a run.

    Args:
        is_settled: whether it can be recorded; else the run is to be read again.
        note: why the run completed although Skyvern calls it failed; '' = it is as it is called.
    """

    is_settled: bool = True
    note: str = ""


async def end_of(account: AccountLink, reading: RunReading) -> End:
    """Say what the terminal status of a run means.

    Args:
        account: where it is from.
        reading: a run that is over.

    Raises:
        RedisError: Redis is away, and the server's version was not read.
    """
    if not is_bad(reading.run_status or ""):
        return End()
    parsed = _parsed(reading)
    ago = ended_ago(parsed, account.runs_clock(reading.server_date))
    # An end that lies further ahead is of another clock, and says nothing of when it was.
    if _is_workflow(reading) and ago is not None and abs(ago) < SETTLE_SECONDS:
        return End(is_settled=False)
    if not looks_completed(parsed):
        return End()
    version = await account.server_version()
    if version is None:
        return End(is_settled=ago is None or abs(ago) > ASKED_FOR_SECONDS)
    return End(note=note_on(version) if version in VERSIONS else "")


def is_bad(status: str) -> bool:
    """Say whether a run ended badly, which is what its job's `retry` is about."""
    return STATES.get(status, "failed") == "failed"


def _is_workflow(reading: RunReading) -> bool:
    return (reading.run_id or "").startswith("wr_")


def _parsed(reading: RunReading) -> dict[str, Any]:
    parsed = parse_json(reading.body)
    return parsed if isinstance(parsed, dict) else {}
