"""What is looked for: an unconfirmed job, what may carry its marker, and when it is looked for.

Pure functions. How a run is matched by its request is `comparison.py`'s matter, what the lists of a
server are worth is `search.py`'s.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from hashlib import blake2b
from typing import Any, Self

import orjson

from runqueue import ids
from runqueue.records.claim_items import Unconfirmed
from runqueue.request.requests import Kind
from runqueue.store import codec
from worker.runs.comparison import ShownRun

#: Seconds before its claim in which a run may seem to have been made: the server's clocks differ.
BEFORE = 60.0
#: Seconds between claim and loss, at most, of a job whose claim's time is not known.
SUBMISSION = 90.0
#: Seconds for which the run of a task without a URL may not be listed yet: a model finds the URL
#: first, in up to three tries of 300 s (certified by its source alone: a stub answers at once).
WITHOUT_URL = 900.0


class Carrier(StrEnum):
    """What carries an attempt's marker, and where a server may show it.

    TITLE: a task's title, in the list. WEBHOOK: the webhook's URL, in the run's own request. TAG: a
    workflow run's metadata, which becomes a tag that the list is filtered by.
    """

    TITLE = "title"
    WEBHOOK = "webhook_url"
    TAG = "tag"


@dataclass(frozen=True, slots=True)
class LostJob:
    """An unconfirmed job, as the search sees it.

    Args:
        unconfirmed: the job.
        age: seconds it has been unconfirmed.
        since: no run from before this is its own, by the process's monotonic clock (seconds): a
            search takes its time, and ages grow meanwhile.
        claimed: when its submission was claimed, likewise.
        kind: what it asks for.
        fields: the request, as it was enqueued.
        body: stands for the whole request: two jobs with the same one are interchangeable.
        carriers: what carried the attempt's marker.
    """

    unconfirmed: Unconfirmed
    age: float
    since: float
    claimed: float
    kind: Kind
    fields: Mapping[str, Any] = field(repr=False)
    body: bytes
    carriers: frozenset[Carrier]

    @property
    def job_id(self) -> str:
        """The job."""
        return self.unconfirmed.job_id

    @property
    def marker(self) -> tuple[str, int]:
        """The job and the attempt, as the marker names them."""
        return self.unconfirmed.job_id, self.unconfirmed.attempt

    @property
    def is_canceled(self) -> bool:
        """Whether its run is to be canceled, once it is known."""
        return bool(self.unconfirmed.cancel)

    @property
    def lost(self) -> float:
        """When the answer was lost, by the monotonic clock (seconds)."""
        claimed_us = self.unconfirmed.claimed_us
        taken = SUBMISSION if claimed_us is None else (self.unconfirmed.since_us - claimed_us) / 1e6
        return self.claimed + taken

    @property
    def date(self) -> float | None:
        """What the server's own clock showed at the claim, at least (unix seconds)."""
        return None if self.unconfirmed.date_us is None else self.unconfirmed.date_us / 1e6

    def by_date(self, moment: Callable[[float], float]) -> Self:
        """Return it with its times by the server's own clock where that is known.

        The queue's clock may have been set, or have stood still with its machine. So the earlier of
        the two says since when its run may have been made, the later how new a run has to be that
        shows what the list is worth.

        Args:
            moment: says when the server's clock showed that (unix, and monotonic, seconds).
        """
        if self.date is None:
            return self
        claimed = moment(self.date)
        since = min(self.since, claimed - BEFORE)
        return replace(self, since=since, claimed=max(self.claimed, claimed))

    def wait(self, grace: float) -> float:
        """Return the seconds from which on a search that finds nothing counts."""
        return max(grace, WITHOUT_URL) if is_listed_late(self.kind, self.fields) else grace


def is_listed_late(kind: Kind, fields: Mapping[str, Any]) -> bool:
    """Say whether a run may not be listed for long after its submission (`WITHOUT_URL`)."""
    return kind == "task" and fields.get("url") is None


def wanted(unconfirmed: Unconfirmed, now_us: int, now: float) -> LostJob:
    """Read an unconfirmed job.

    Args:
        unconfirmed: the job.
        now_us: the queue's clock.
        now: the process's monotonic clock at that time, or a little earlier.

    Raises:
        ValueError, KeyError: its stored request is broken.
    """
    kind, fields = codec.read_request(unconfirmed.stored)
    age = (now_us - unconfirmed.since_us) / 1e6
    claimed_us = unconfirmed.claimed_us
    claim_age = age + SUBMISSION if claimed_us is None else (now_us - claimed_us) / 1e6
    body = digest_of(kind, fields)
    claimed = now - claim_age
    carriers = carriers_of(unconfirmed, kind, fields)
    return LostJob(unconfirmed, age, claimed - BEFORE, claimed, kind, fields, body, carriers)


def digest_of(kind: Kind, fields: Mapping[str, Any]) -> bytes:
    """Return what stands for a whole request: two jobs with the same are interchangeable."""
    return blake2b(kind.encode() + orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)).digest()


def carriers_of(
    unconfirmed: Unconfirmed, kind: Kind, fields: Mapping[str, Any]
) -> frozenset[Carrier]:
    """Return what carried the marker of a submission."""
    if not unconfirmed.marked:
        return frozenset()
    found = set()
    if kind == "task":
        found.add(Carrier.TITLE)
    if fields.get("webhook_url") or unconfirmed.received:
        found.add(Carrier.WEBHOOK)
    if codec.can_tag(kind, fields.get("run_metadata")):
        found.add(Carrier.TAG)
    return frozenset(found)


def markers_of(echoed: Mapping[str, Any]) -> set[tuple[str, int]]:
    """Return the attempts that a request names as the server shows it, of any queue."""
    return ids.markers_in(" ".join(_marked(echoed)))


def own_markers(run: ShownRun, queue: str) -> set[tuple[str, int]]:
    """Return the attempts that a run names in its title or its request, but for other queues'.

    Args:
        run: as the server shows it.
        queue: the configured name of this queue; '' = it has none.
    """
    texts = run.listed.title or "", *_marked(run.request or {})
    return {marker for text in texts for marker in ids.own_markers_in(text, queue)}


def _marked(echoed: Mapping[str, Any]) -> list[str]:
    texts = (echoed.get("title"), echoed.get("webhook_url"))
    return [text for text in texts if isinstance(text, str)]


def next_search(age: float, grace: float) -> float:
    """Return after how many seconds to look for a run again.

    Soon at first, since most answers are lost with their run made; at the grace, and half a minute
    later, because these count where nothing is found; then ever more rarely.

    Args:
        age: seconds that the job has been unconfirmed.
        grace: seconds from which on a search that finds nothing counts.
    """
    if age < grace:
        return min(max(2.0, age * 0.7), max(grace - age, 0.05), 300.0)
    return min(max(30.0, age * 0.25), 300.0)
