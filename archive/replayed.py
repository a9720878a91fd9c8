"""Jobs that Redis has no more, as they are enqueued again."""

from typing import TYPE_CHECKING, Any, Final

from runqueue.errors import InvalidJob
from runqueue.operator.decisions import Settled
from runqueue.records.job import JobState
from runqueue.request.job_keys import keys_of
from runqueue.request.job_spec import JobSpec, parse_line
from runqueue.request.metadata import entries_of
from runqueue.request.request_checks import RequestChecks
from runqueue.request.retry_policy import Retry
from runqueue.store import codec

if TYPE_CHECKING:  # SQLAlchemy loads slowly
    from archive.rows import EndedJob

#: The namespace of jobs that are named by the id of the one that they replay.
REPLAYED: Final = "replay"
_ENDED_BADLY: Final = {JobState.DEAD, JobState.FAILED, JobState.CANCELED}


def spec_again(job: "EndedJob") -> JobSpec | Settled:
    """Return the job that replays one; or why there is none.

    Args:
        job: as the archive has it.
    """
    record = {name: value.decode(errors="replace") for name, value in job.record.items()}
    if record["state"] not in _ENDED_BADLY:
        return Settled.NOT_ENDED_BADLY
    if "body_dropped" in record:
        return Settled.REQUEST_GONE
    if "files" in record:
        return Settled.FILES_USED
    try:
        kind, custom_id, namespace, *_ = codec.read_envelope(job.body.partition(b"\n")[0])
        _, body = codec.read_request(job.body)
    except (ValueError, KeyError):  # it was archived broken
        return Settled.REQUEST_GONE
    implied = keys_of((), kind, body).split()
    line: dict[str, Any] = {
        "kind": kind,
        "body": body,
        "account": job.account,
        "custom_id": custom_id or job.id,
        "namespace": namespace if custom_id else REPLAYED,
        "group": record.get("group", "default"),
        "priority": int(record.get("priority", 2)),
        "on_unconfirmed": record.get("on_unconfirmed"),
        "keys": [key for key in record.get("keys", "").split() if key not in implied],
        "metadata": entries_of(job.record.get("metadata")),
        "retry": Retry.read(record["retry"]) if "retry" in record else None,
    }
    if "max_run" in record:
        line["max_run_seconds"] = int(record["max_run"]) / 1e6
    given = {name: value for name, value in line.items() if value not in (None, [], {})}
    try:
        return parse_line(given, checks=RequestChecks.PASS)
    except InvalidJob:
        return Settled.NOT_ACCEPTED
