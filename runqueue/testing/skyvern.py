"""What a simulated Skyvern is to do with submissions, and what it was sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Self

from runqueue.testing.jobs import EnqueuedJob, Wanted

#: The output of a run whose script names none.
ANY_OUTPUT: Final = object()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of one submission.

    Args:
        end: how its run ends: completed, failed, terminated, timed_out or never; '' = there is
            none.
        output: what the run brings.
        reason: why the run fails, or the submission is refused.
        status: the HTTP status of the answer.
        retry_after: seconds that a refusal asks to wait; None = it asks nothing.
        is_lost: whether the answer is lost.
    """

    end: str = "completed"
    output: Any = ANY_OUTPUT
    reason: str = ""
    status: int = 200
    retry_after: int | None = None
    is_lost: bool = False


@dataclass(frozen=True, slots=True)
class Submission:
    """One submission that Skyvern got.

    Args:
        job_id, attempt: what it was for.
        path: of the call, such as /v1/run/tasks.
        body: as it was sent.
        outcome: what became of it.
    """

    job_id: str
    attempt: int
    path: str
    body: dict[str, Any] = field(repr=False)
    outcome: Outcome


class Script:
    """What becomes of the submissions of some jobs, one after the other.

    The last outcome holds for all further submissions.

    Args:
        wanted: which jobs.
    """

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self._outcomes: list[Outcome] = []
        self._next = 0

    def completes(self, output: Any = ANY_OUTPUT) -> Self:
        """Have the run complete.

        Args:
            output: what it brings; by default a text that names the run.
        """
        return self._then(Outcome(output=output))

    def fails(self, reason: str = "", *, status: str = "failed") -> Self:
        """Have the run end badly.

        Args:
            reason: why, as Skyvern says it.
            status: failed, terminated or timed_out.
        """
        if status not in {"failed", "terminated", "timed_out"}:
            raise ValueError(f"expected failed, terminated or timed_out, got {status!r}")
        return self._then(Outcome(status, reason=reason))

    def never_ends(self) -> Self:
        """Have the run go on until it is canceled."""
        return self._then(Outcome("never"))

    def loses_the_answer(self, output: Any = ANY_OUTPUT, *, makes_a_run: bool = True) -> Self:
        """Have the connection break before the submission is answered.

        Args:
            output: what the run brings.
            makes_a_run: whether the submission arrived; its run completes.
        """
        return self._then(Outcome("completed" * makes_a_run, output, is_lost=True))

    def refuses(
        self, status: int, reason: str = "refused", *, retry_after: int | None = None
    ) -> Self:
        """Have the submission refused, without a run.

        Args:
            status: of the answer, such as 429 or 422.
            reason: the answer's words.
            retry_after: seconds to wait, which the answer names.
        """
        if not 400 <= status < 600:
            raise ValueError(f"expected an HTTP status of 400 to 599, got {status}")
        return self._then(Outcome("", reason=reason, status=status, retry_after=retry_after))

    def _then(self, outcome: Outcome) -> Self:
        self._outcomes.append(outcome)
        return self

    def next_outcome(self) -> Outcome:
        """Return what becomes of the next submission."""
        if not self._outcomes:
            return Outcome()
        self._next += 1
        return self._outcomes[min(self._next, len(self._outcomes)) - 1]


class Skyvern:
    """A simulated account: runs take no time, and complete unless a script says otherwise."""

    #: What webhooks are signed with: the account's key, and the secret of standard-webhooks.
    api_key: ClassVar[str] = "skyvern-key-for-tests"
    webhook_secret: ClassVar[str] = "whsec_" + "dGVzdHMg" * 4

    def __init__(self) -> None:
        #: What it was sent, in order.
        self.submissions: list[Submission] = []
        self._scripts: list[Script] = []
        #: The account that `runqueue-server` simulates; None = no worker ran yet.
        self.account: Any = None

    def on(
        self,
        *,
        kind: str | None = None,
        group: str | None = None,
        prompt: str | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Script:
        """Begin a script for the submissions of some jobs; of several the last one holds.

        Args:
            kind, group, body: which jobs, as in `QueueForTests.assert_enqueued`.
            prompt: those whose request has this prompt.
        """
        part = {**(body or {}), **({} if prompt is None else {"prompt": prompt})}
        script = Script(Wanted(kind, group, part or None))
        self._scripts.insert(0, script)
        return script

    def next_outcome(self, job: EnqueuedJob) -> Outcome:
        """Return what becomes of a job's next submission."""
        fitting = (script for script in self._scripts if script.wanted.fits(job))
        script = next(fitting, None)
        return Outcome() if script is None else script.next_outcome()

    def reset(self) -> None:
        """Forget scripts, submissions and runs."""
        self.submissions.clear()
        self._scripts.clear()
        self.account = None
