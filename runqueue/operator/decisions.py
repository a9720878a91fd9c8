"""What operators' decisions on jobs come to."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from runqueue.records.job import Job
from runqueue.store.operator_calls import Seen

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Jobs that are acted on in one script call: each may have a group and a batch of its own.
ACTS: Final = 200


class Settled(StrEnum):
    """What a decision on one job came to."""

    DONE = "done"
    CANCELED = "canceled"
    WILL_BE_CANCELED = "will be canceled"
    OVER = "over already"
    NOT_UNCONFIRMED = "not unconfirmed"
    NOT_DEAD = "not dead"
    NOT_ENDED_BADLY = "not dead, failed or canceled"
    NO_SUCH_JOB = "no such job"
    CANCEL_ASKED = "a cancel was requested"
    RUN_TAKEN = "the run is another job's"
    BATCH_CANCELED = "its batch was canceled"
    FILES_USED = "its uploaded files served a run, and each serves one"
    ARCHIVED = "the archive alone has its request and result"
    REQUEST_GONE = "its request was dropped, as it ended before it was submitted"
    NO_WEBHOOK = "its run has not ended, or it has no webhook"
    NO_ENDED_RUN = "no run of it has ended"
    NOT_PAUSED = "its run is not paused"
    PUT_BACK = "with the request that the archive has"
    ENQUEUED_AGAIN = "enqueued anew from the archive"
    NOT_ACCEPTED = "it was not accepted again"


#: Outcomes that are what was decided.
GOOD: Final = frozenset({Settled.DONE, Settled.PUT_BACK, Settled.ENQUEUED_AGAIN})
#: What the codes of each script mean, beside `DONE` and `NO_SUCH_JOB`.
CANCEL: Final = {1: Settled.CANCELED, 2: Settled.WILL_BE_CANCELED, 0: Settled.OVER}
ADOPT: Final = {
    0: Settled.DONE,
    2: Settled.NOT_UNCONFIRMED,
    3: Settled.RUN_TAKEN,
    4: Settled.NOT_UNCONFIRMED,
    5: Settled.DONE,
}
SETTLE: Final = {0: Settled.NOT_UNCONFIRMED, 2: Settled.CANCEL_ASKED}
DISCARD: Final = {0: Settled.NOT_DEAD}
REPLAY: Final = {
    0: Settled.NOT_ENDED_BADLY,
    2: Settled.BATCH_CANCELED,
    3: Settled.FILES_USED,
    4: Settled.REQUEST_GONE,
    5: Settled.ARCHIVED,
}
CONFIRM: Final = {0: Settled.NO_WEBHOOK, 2: Settled.ARCHIVED}
DELIVER_ELSEWHERE: Final = {0: Settled.NO_ENDED_RUN, 2: Settled.ARCHIVED}
APPROVE: Final = {0: Settled.NOT_PAUSED, 2: Settled.CANCEL_ASKED}


#: What was done to jobs, by the name that a decision has in commands, calls and the audit.
WORDS: Final = {
    "replay": "ready again",
    "discard": "removed",
    "adopt": "follows its run",
    "resubmit": "ready",
    "fail": "settled",
    "deliver": "will be sent",
    "confirm_delivery": "delivered",
    "approve": "will be approved",
    "reject": "will be canceled",
}


def outcomes(codes: Mapping[str, int], meanings: Mapping[int, Settled]) -> dict[str, Settled]:
    """Return what each job's code means.

    Args:
        codes: by job id.
        meanings: of the script's own codes.
    """
    known = {1: Settled.DONE, -1: Settled.NO_SUCH_JOB, **meanings}
    return {job_id: known[code] for job_id, code in codes.items()}


def seen(job: Job) -> Seen:
    """Return a job as it was when somebody decided on it.

    A call whose reply was lost is sent again, and may come after the job went on: by its attempt
    and its end the script sees that what was decided has been done.
    """
    ended = (job.ended_at - _EPOCH) // timedelta(microseconds=1) if job.ended_at else 0
    return job.id, job.attempts, ended
