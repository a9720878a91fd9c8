"""Which submissions were ever unconfirmed, and what became of each.

The queue does not keep this: a job that was found again forgets that it was unconfirmed. So it is
looked at from outside, twice a second. Its first search comes two seconds after a job became
unconfirmed, so none is settled by a search without having been seen here; one that a late answer
settles sooner may be missed, in the count of the lost as in that of the settled.
"""

import threading
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from runqueue.store.keys import Keys

#: Seconds between two looks.
_EVERY = 0.5


class UnconfirmedAttempt(NamedTuple):
    """One submission whose answer was lost."""

    job_id: str
    attempt: int


class Tally(NamedTuple):
    """How many submissions were unconfirmed, and how many of them ended as they should."""

    lost: int = 0
    settled: int = 0

    def __add__(self, other: "Tally") -> "Tally":  # type: ignore[override]
        return Tally(self.lost + other.lost, self.settled + other.settled)


@dataclass(frozen=True, slots=True)
class Tallies:
    """The submissions of one experiment that were unconfirmed.

    Args:
        marked: the server's search finds their runs by the attempt's marker.
        no_marker: only the echoed request tells whose run it is.
    """

    marked: Tally = field(default_factory=Tally)
    no_marker: Tally = field(default_factory=Tally)

    def __add__(self, other: "Tallies") -> "Tallies":
        return Tallies(self.marked + other.marked, self.no_marker + other.no_marker)


class UnconfirmedWatch:
    """Looks at the unconfirmed jobs, again and again, from a thread of its own.

    Args:
        port: of the queue's Redis.
    """

    def __init__(self, port: int) -> None:
        # Its retries would sleep for seconds in which jobs come and go.
        once = Retry(NoBackoff(), 0)
        self._client = redis.Redis(port=port, socket_timeout=2, retry=once, decode_responses=True)
        self._prefix = Keys("default").prefix
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="unconfirmed", daemon=True)
        #: Every submission that was ever seen unconfirmed, and those that are now.
        self.seen: set[UnconfirmedAttempt] = set()
        self.standing: set[UnconfirmedAttempt] = set()

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()
        self._thread.join()
        self._client.close()

    def tallies(self, marked: Collection[str], doubled: Collection[str]) -> Tallies:
        """Count the unconfirmed submissions by what became of them.

        Args:
            marked: the jobs whose runs a search finds by their marker.
            doubled: the jobs that were run twice: those are not settled.
        """
        self._look()
        found = {one for one in self.seen if one.job_id in marked}
        return Tallies(
            self._tally(found, doubled, self.standing),
            self._tally(self.seen - found, doubled, self.standing),
        )

    @staticmethod
    def _tally(
        seen: set[UnconfirmedAttempt], doubled: Collection[str], left: set[UnconfirmedAttempt]
    ) -> Tally:
        settled = [one for one in seen if one not in left and one.job_id not in doubled]
        return Tally(len(seen), len(settled))

    def _watch(self) -> None:
        while not self._ended.wait(_EVERY):
            try:
                self._look()
            except redis.RedisError:
                continue  # Redis is away: that is what many experiments are about

    def _look(self) -> None:
        """Note which jobs stand in unconfirmed, and at which attempt."""
        ids = [
            str(id_)
            for name in ("unconfirmed", "unconfirmed_no_slot")
            for id_ in self._client.zrange(f"{self._prefix}{name}", 0, -1)
        ]
        with self._client.pipeline(transaction=False) as pipe:
            for id_ in ids:
                pipe.hmget(f"{self._prefix}job:{id_}", "state", "attempt")
            records = pipe.execute()
        self.standing = {
            UnconfirmedAttempt(id_, int(attempt))
            for id_, (state, attempt) in zip(ids, records, strict=True)
            if state == "unconfirmed"
        }
        self.seen |= self.standing
