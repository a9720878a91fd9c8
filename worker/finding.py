"""How the run of a submission whose answer was lost can be recognised. Pure functions.

By the attempt's marker, where the server's search looks into what carries it; else by the request
that `get_run` echoes. Finding is easy; that there is no run is only believed where the search would
have found it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runqueue import ids, wire
from runqueue.items import Doubtful
from runqueue.spec import Kind

#: Engines whose tasks keep the title that they were given; the search looks into it. Others (2.0,
#: which is the default, and what nobody knows yet) may overwrite it.
TITLED_ENGINES = frozenset({"skyvern-1.0", "skyvern-3.0", "openai-cua", "anthropic-cua"})
#: Fields that an echo shows otherwise, or not at all: the marker stands in the first two, the
#: others travel outside the body.
_NOT_ECHOED = frozenset(
    {"title", "webhook_url", "user_agent", "max_steps_override", "template", "agent_id"}
)
#: Seconds before its claim in which a run may seem to have been made: the server's clocks differ.
BEFORE = 60.0
#: Seconds between claim and loss, at most, of a job whose claim's time is not known.
SUBMISSION = 90.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """An unconfirmed job, as the search sees it.

    Args:
        doubt: the job.
        age: seconds it has been unconfirmed.
        since: no run from before this is its own, by the process's monotonic clock (seconds): a
            search takes its time, and ages grow meanwhile.
        kind: task or workflow.
        fields: the request, as it was handed in.
        search_key: what finds the run, and proves by finding nothing that there is none; None =
            only the echoed request tells.
    """

    doubt: Doubtful
    age: float
    since: float
    kind: Kind
    fields: Mapping[str, Any]
    search_key: str | None

    @property
    def marker(self) -> tuple[str, int]:
        """The job and the attempt, as the marker names them."""
        return self.doubt.job_id, self.doubt.attempt

    @property
    def may_be_denied(self) -> bool:
        """Whether a search that finds nothing says anything: it must know how far to look back."""
        return self.doubt.claimed_us is not None


def wanted(doubt: Doubtful, now_us: int, now: float) -> Wanted:
    """Read an unconfirmed job.

    Args:
        doubt: the job.
        now_us: the queue's clock.
        now: the process's monotonic clock at that time, or a little earlier.

    Raises:
        ValueError, KeyError: its stored request is broken.
    """
    kind, fields = wire.read_request(doubt.stored)
    key = None
    if kind == "task" and fields.get("engine") in TITLED_ENGINES:
        key = ids.title_marker(doubt.job_id, doubt.attempt)
    elif kind != "task" and (fields.get("webhook_url") or doubt.received):
        key = ids.url_marker(doubt.job_id, doubt.attempt)
    age = (now_us - doubt.since_us) / 1e6
    claimed_us = doubt.claimed_us
    claim_age = age + SUBMISSION if claimed_us is None else (now_us - claimed_us) / 1e6
    return Wanted(doubt, age, now - claim_age - BEFORE, kind, fields, key)


def kind_of(run_type: str | None) -> Kind | None:
    """Return the kind of a run in the list; None where that does not say."""
    if run_type is None:
        return None
    return "workflow" if run_type == "workflow_run" else "task"


def _run_kind(kind: Kind) -> Kind:
    """Return the kind that the server shows for the run of a request: a login is a workflow run."""
    return "task" if kind == "task" else "workflow"


def is_run_of(job: Wanted, kind: Kind | None, echoed: Mapping[str, Any]) -> bool | None:
    """Say whether a run that no job owns is the job's, by the request that the server echoes.

    A marker decides. Without one every field that we sent must be equal; the server adds its own
    defaults. A field that it does not show denies nothing: then, unless another one differs, it
    cannot be told (None).

    Args:
        job: the job.
        kind: the run's; None = not known.
        echoed: its `run_request`.
    """
    if marked := markers_of(echoed):
        return job.marker in marked
    if kind not in {None, _run_kind(job.kind)}:
        return False
    sent = {n: v for n, v in job.fields.items() if n not in _NOT_ECHOED and v is not None}
    workflow = sent.pop("workflow_id", None) or job.fields.get("agent_id")
    verdicts = [_same(value, echoed.get(name)) for name, value in sent.items()]
    if workflow is not None:
        # Servers call it `workflow_id` or `agent_id`, whichever was sent.
        verdicts.append(_same(workflow, echoed.get("workflow_id") or echoed.get("agent_id")))
    if False in verdicts:
        return False
    return None if None in verdicts else True


def _same(sent: Any, echoed: Any) -> bool | None:
    return None if echoed is None else bool(sent == echoed)


def markers_of(echoed: Mapping[str, Any]) -> set[tuple[str, int]]:
    """Return the attempts that an echoed request names."""
    texts = (echoed.get("title"), echoed.get("webhook_url"))
    return {m for text in texts if isinstance(text, str) for m in ids.markers_in(text)}


def next_look(age: float, grace: float) -> float:
    """Return after how many seconds to look for a run again.

    Soon at first, since most answers are lost with their run made; at the grace, and half a minute
    later, because these count where nothing is found; then ever more rarely.

    Args:
        age: seconds that the job has been unconfirmed.
        grace: seconds from which on a search that finds nothing counts.
    """
    if age < grace:
        return min(max(2.0, age * 0.7), max(grace - age, 0.05))
    return min(max(30.0, age * 0.25), 300.0)
