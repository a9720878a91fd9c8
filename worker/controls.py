"""What runs of ours show of a list: that it has runs of their kind, and shows their markers.

A marker that is not seen says something only where markers are seen, and a comparison only where
the runs of ours compare as they should. Pure functions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runqueue import ids
from runqueue.requests import Kind
from worker.comparison import ENGINE_V2, TASK_V2, WORKFLOW_RUN, Likeness, ShownRun, compare
from worker.finding import Carrier, Wanted


@dataclass(frozen=True, slots=True)
class OwnedRun:
    """A run of ours.

    Args:
        run: as the server shows it.
        job_id: whose it is.
        kind, sent: what it was submitted as.
    """

    run: ShownRun
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
        return compare(self.kind, self.sent, self.run).likeness is Likeness.EQUAL


class Controls:
    """Runs of ours in one list.

    Args:
        owned: some of each type that is listed.
    """

    def __init__(self, owned: Sequence[OwnedRun]) -> None:
        self._recognised = {one.run.listed.run_type for one in owned if one.is_recognised}
        self._carried = {
            (one.run.listed.run_type, carrier)
            for one in owned
            for carrier in (Carrier.TITLE, Carrier.WEBHOOK)
            if one.carries(carrier)
        }

    def lacks_marker(self, job: Wanted, run: ShownRun) -> bool:
        """Say whether a run would show the job's marker if it were its own; it shows none.

        Args:
            job: the job.
            run: one that shows no marker of ours.
        """
        run_type = run.listed.run_type
        if Carrier.TITLE in job.carriers and (run_type, Carrier.TITLE) in self._carried:
            return True
        is_read = run.request is not None
        return (
            is_read
            and Carrier.WEBHOOK in job.carriers
            and (run_type, Carrier.WEBHOOK) in self._carried
        )

    def shows(self, job: Wanted) -> bool:
        """Say whether runs of the job's kind are listed, and recognised."""
        return any(_may_be(job, run_type) for run_type in self._recognised)


def _may_be(job: Wanted, run_type: str | None) -> bool:
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
