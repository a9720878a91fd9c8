"""Which submissions were ever in doubt, and what became of each.

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


class Doubt(NamedTuple):
    """One submission whose answer was lost."""

    job_id: str
    attempt: int


class Tally(NamedTuple):
    """How many submissions were in doubt, and how many of them ended as they should."""

    lost: int = 0
    settled: int = 0

    def __add__(self, other: "Tally") -> "Tally":  # type: ignore[override]
        return Tally(self.lost + other.lost, self.settled + other.settled)


@dataclass(frozen=True, slots=True)
class Tallies:
    """The submissions of one experiment that were in doubt.

    Args:
        marked: the server's search finds their runs by the attempt's marker.
        no_marker: only the echoed request tells whose run it is.
    """

    marked: Tally = field(default_factory=Tally)
    no_marker: Tally = field(default_factory=Tally)

    def __add__(self, other: "Tallies") -> "Tallies":
        return Tallies(self.marked + other.marked, self.no_marker + other.no_marker)


class Doubts:
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
        self._thread = threading.Thread(target=self._watch, name="doubts", daemon=True)
        #: Every submission that was ever seen in doubt, and those that are now.
        self.seen: set[Doubt] = set()
        self.standing: set[Doubt] = set()

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()
        self._thread.join()
        self._client.close()

    def tallies(self, marked: Collection[str], doubled: Collection[str]) -> Tallies:
        """Count what was in doubt by what became of it.

        Args:
            marked: the jobs whose runs a search finds by their marker.
            doubled: the jobs that were run twice: a wrong end of a doubt is none.
        """
        self._look()
        found = {doubt for doubt in self.seen if doubt.job_id in marked}
        return Tallies(
            self._tally(found, doubled, self.standing),
            self._tally(self.seen - found, doubled, self.standing),
        )

    @staticmethod
    def _tally(doubts: set[Doubt], doubled: Collection[str], left: set[Doubt]) -> Tally:
        settled = [one for one in doubts if one not in left and one.job_id not in doubled]
        return Tally(len(doubts), len(settled))

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
            Doubt(id_, int(attempt))
            for id_, (state, attempt) in zip(ids, records, strict=True)
            if state == "unconfirmed"
        }
        self.seen |= self.standing
