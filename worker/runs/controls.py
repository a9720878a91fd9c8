"""What runs of ours show of a list: that it has runs of their kind, and shows their markers.

A marker that is not seen says something only where markers are seen, and a comparison only where
the runs of ours compare as they should. Pure functions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runqueue import ids
from runqueue.request.requests import Kind
from worker.runs.comparison import ENGINE_V2, TASK_V2, WORKFLOW_RUN, ShownRun, Similarity, compare
from worker.runs.matcher import Carrier, LostJob

#: A type of run, and a carrier in which runs of that type are seen to show their markers.
Proven = tuple[str | None, Carrier]


@dataclass(frozen=True, slots=True)
class OwnedRun:
    """A run of ours.

    Args:
        run: as the server shows it.
        made: when it was made (monotonic seconds).
        job_id: whose it is.
        kind, sent: what it was submitted as.
    """

    run: ShownRun
    made: float
    job_id: str
    kind: Kind
    sent: Mapping[str, Any] = field(repr=False)

    def carries(self, carrier: Carrier) -> bool:
        """Say whether the server shows the job's marker in what carries it."""
        text: Any = self.run.listed.title
        if carrier is Carrier.WEBHOOK:
            text = (self.run.request or {}).get("webhook_url")
        found = ids.markers_in(text) if isinstance(text, str) else ()
        return any(job_id == self.job_id for job_id, _ in found)

    @property
    def is_recognised(self) -> bool:
        """Whether its marker, or its request, would have found it."""
        if self.carries(Carrier.TITLE) or self.carries(Carrier.WEBHOOK):
            return True
        return compare(self.kind, self.sent, self.run).similarity is Similarity.EQUAL


class ListControls:
    """Runs of ours in one list. Only those that were made after a job's claim count for it.

    Args:
        owned: the newest of each type that is listed.
    """

    def __init__(self, owned: Sequence[OwnedRun]) -> None:
        #: When the newest run was made that is recognised, and that shows a marker.
        self._recognised: dict[str | None, float] = {}
        self._carried: dict[tuple[str | None, Carrier], float] = {}
        for one in owned:
            run_type = one.run.listed.run_type
            if one.is_recognised:
                newest = self._recognised.get(run_type, one.made)
                self._recognised[run_type] = max(newest, one.made)
            for carrier in (Carrier.TITLE, Carrier.WEBHOOK):
                if one.carries(carrier):
                    newest = self._carried.get((run_type, carrier), one.made)
                    self._carried[run_type, carrier] = max(newest, one.made)

    def proven(self, job: LostJob) -> frozenset[Proven]:
        """Return what would show the job's marker, by the type of run.

        A run of that type that shows no marker there is not the job's.
        """
        return frozenset(
            (run_type, carrier)
            for (run_type, carrier), made in self._carried.items()
            if carrier in job.carriers and made >= job.claimed
        )

    def shows(self, job: LostJob) -> bool:
        """Say whether newer runs of the job's kind are listed, and recognised."""
        return any(
            made >= job.claimed and _may_be(job, run_type)
            for run_type, made in self._recognised.items()
        )


def lacks_marker(run: ShownRun, proven: frozenset[Proven]) -> bool:
    """Say whether a run would show a marker if it were a job's own.

    Args:
        run: one that shows no marker of ours.
        proven: what would show the job's.
    """
    run_type = run.listed.run_type
    if (run_type, Carrier.TITLE) in proven:
        return True
    return run.request is not None and (run_type, Carrier.WEBHOOK) in proven


def _may_be(job: LostJob, run_type: str | None) -> bool:
    """Say whether a job's run may be listed as that type."""
    if run_type is None:
        return False
    if job.kind != "task":
        return run_type == WORKFLOW_RUN
    if run_type == WORKFLOW_RUN:
        return False
    engine = job.fields.get("engine")
    if engine is None and not job.fields.get("publish_workflow"):
        return True
    is_v2 = engine == ENGINE_V2 or bool(job.fields.get("publish_workflow"))
    return (run_type == TASK_V2) is is_v2
