"""What the worker's script calls take and give, item by item: plain tuples.

Of those that are recorded, the fields are in the order of the script's contract.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Generic, NamedTuple, TypeVar, cast

#: What a claiming script gives, one by one.
Item = TypeVar("Item")
_Other = TypeVar("_Other")


class Claimed(NamedTuple):
    """A job taken for submission."""

    job_id: str
    attempt: int
    stored: bytes

    def __repr__(self) -> str:
        return f"Claimed({self.job_id!r}, {self.attempt}, {len(self.stored)} bytes)"


class DuePoll(NamedTuple):
    """A running job to check.

    Args:
        job_id: '' when no job owns the run.
        retry: its policy as stored.
        runs: those that ended before.
        since_us: from when the run's time counts: its acceptance, or the start of a later attempt.
        limit_us: how long that time is; 0 = without a limit.
        session: the browser session that the job uses; '' = none.
    """

    job_id: str
    attempt: int
    run_id: str
    run_status: str
    started_us: int
    deadline_us: int | None
    retry: str = ""
    runs: int = 0
    since_us: int = 0
    limit_us: int = 0
    session: str = ""


class Unconfirmed(NamedTuple):
    """An unconfirmed job whose run is to be searched for.

    Args:
        since_us: when it became unconfirmed, by the queue's clock.
        claimed_us: when its submission was claimed: its run is not older; None = not known.
        marked: whether the submission carried the attempt's marker.
        received: whether it requested a webhook to our receiver.
        on_unconfirmed: auto, hold or resubmit.
        cancel: why its end was requested; '' = it was not.
        stored: its request.
        date_us: what the server's own clock showed at the claim, at least; None = not known.
    """

    job_id: str
    attempt: int
    since_us: int
    claimed_us: int | None
    marked: bool
    on_unconfirmed: str
    cancel: str
    stored: bytes
    received: bool = False
    date_us: int | None = None

    def __repr__(self) -> str:
        return f"Unconfirmed({self.job_id!r}, {self.attempt}, {len(self.stored)} bytes)"


class MaybeClaimed(NamedTuple):
    """A job that a claim may have had which Redis lost.

    Args:
        letters: l = its run is searched later, n = it came to its lane since claims may have been
            lost, p = claims may have passed it by (`losses.lua`).
    """

    job_id: str
    letters: str


class ToCancel(NamedTuple):
    """A run to cancel; job_id is '' when no job owns it.

    Args:
        tried_us: for how long that has been tried, microseconds; 0 = this is the first try.
        is_approval: the run is paused, and is to go on instead.
    """

    job_id: str
    attempt: int
    run_id: str
    tried_us: int = 0
    is_approval: bool = False


class ApprovalSent(NamedTuple):
    """What came of an approval that was sent: see `record_approval.lua`."""

    job_id: str
    run_id: str
    why: str


class RunAbandoned(NamedTuple):
    """A run to cancel whose end no GET confirmed.

    Args:
        is_over: whether the server said all the same that it is over.
    """

    job_id: str
    run_id: str
    is_over: bool = False


class Overdue(NamedTuple):
    """A run that took longer than it may, and what its job fails with."""

    job_id: str
    attempt: int
    run_id: str
    why: str


class ClaimAnswer(StrEnum):
    """What a claiming script says; all but `ok` end the consumer."""

    OK = "ok"
    STALE = "stale"
    FENCED = "fenced"
    MOVED = "moved"


class Taken(NamedTuple, Generic[Item]):
    """The reply of a claiming script.

    Args:
        now_us: the server's time.
        next_us: when asking again makes sense (a permit, a hold's end, a poll); 0 = not known.
        consumer_left: there is nothing to do, and the consumer is no active one any more.
        sequence: the claim sequence after this claim (submit only).
        recover_from_us: since when to search for runs of lost claims; 0 = none (reconcile).
        recover_since_us: when the loss was noticed (reconcile).
        lost_claims: how many claims a process remembers that this Redis does not know (reconcile).
        recover_date_us: what Skyvern's own clock showed at `recover_from_us`, at least; None = not
            known (reconcile).
        has_deaths: a process may have died with claims that this Redis does not know (reconcile).
    """

    answer: ClaimAnswer
    now_us: int
    next_us: int = 0
    consumer_left: bool = True
    sequence: int = 0
    items: Sequence[Item] = ()
    recover_from_us: int = 0
    recover_since_us: int = 0
    lost_claims: int = 0
    recover_date_us: int | None = None
    has_deaths: bool = False

    def with_items(self, items: Sequence[_Other]) -> "Taken[_Other]":
        """Return the same reply with its items as a stage handles them."""
        return cast("Taken[_Other]", self._replace(items=cast(Any, items)))


class RunAccepted(NamedTuple):
    """A submission that brought a run."""

    job_id: str
    attempt: int
    run_id: str
    run_status: str
    poll_after_us: int


class Lost(NamedTuple):
    """A submission that is dead or unconfirmed, and why.

    Args:
        trouble: the server, or the route to it, failed; many of these open the breaker.
    """

    job_id: str
    attempt: int
    reason: str
    trouble: bool = False


class Polled(NamedTuple):
    """A run that goes on.

    Args:
        run_status: '' when it is as before.
        next_after_us: when it is polled again, from now.
        begun_us: when its current attempt began, by the queue's clock; 0 = as before.
        paused_url: where a person decides on a paused run; '' = it is not paused.
    """

    job_id: str
    attempt: int
    run_status: str
    next_after_us: int
    begun_us: int = 0
    paused_url: str = ""


class Finished(NamedTuple):
    """A run that is over; result is the API's answer as it came, figures as in `Reported`."""

    job_id: str
    attempt: int
    run_id: str
    state: str
    run_status: str
    reason: str
    result: bytes
    figures: str = ""

    def __repr__(self) -> str:
        return f"Finished({self.job_id!r}, {self.attempt}, {self.run_id!r}, {self.state!r})"


class RunAgain(NamedTuple):
    """A run that ended badly, after which the job is to be run once more.

    Args:
        backoff_us: how long the job waits before.
        is_occupied: 1 = the run found its browser session occupied and did nothing: it does not
            count for the job's policy, and the script says how long the job waits.
    """

    job_id: str
    attempt: int
    run_id: str
    run_status: str
    reason: str
    backoff_us: int
    result: bytes
    figures: str = ""
    is_occupied: int = 0

    def __repr__(self) -> str:
        return f"RunAgain({self.job_id!r}, {self.attempt}, {self.run_id!r}, {self.run_status!r})"


class RunDetails(NamedTuple):
    """What the list of workflow runs shows of a run that is over; '' = not known.

    Args:
        known: 0 = nothing is, and it is not read again.
    """

    run_id: str
    known: int
    credits: int | str = ""
    cached_credits: int | str = ""
    category: str = ""


class Searched(NamedTuple):
    """A search that found no run.

    Args:
        verdict: `not_found` = there is none; `not_seen` = none is seen, and nothing shows what that
            is worth; `unknown` = it says nothing.
        next_after_us: when to search again.
        wait_us: from when on a search that finds nothing counts, since the job was unconfirmed.
        message: what keeps the job from being settled, for people.
        candidates: the runs that may be its own, as JSON; '' = none.
    """

    job_id: str
    attempt: int
    verdict: str
    next_after_us: int
    wait_us: int
    message: str = ""
    candidates: str = ""


class UnconfirmedPage(NamedTuple):
    """Unconfirmed jobs, a page of them.

    Args:
        now_us: the queue's clock.
        in_flight_us: when the oldest submission under way was claimed; None = there is none.
        total: how many unconfirmed jobs there are.
        items: the page's.
    """

    now_us: int
    in_flight_us: int | None
    total: int
    items: Sequence[Unconfirmed]


class GivenBack(NamedTuple):
    """A claim whose submission surely created no run, and what the server said to that.

    Args:
        wait_us: for how long the server wants no request.
        named: submissions a second that the server said it takes; 0 = it did not say.
    """

    job_id: str
    attempt: int
    wait_us: int = 0
    reason: str = ""
    named: float = 0.0


class EndedOrphan(NamedTuple):
    """An orphan run that is over.

    Args:
        figures: as in `Reported`.
    """

    run_id: str
    figures: str = ""


class Tick(NamedTuple):
    """What the tick says: `wait`, `wake`, `passed`, `idle`, or `send` with messages by stage."""

    answer: str
    now_us: int
    messages: Mapping[str, int]
