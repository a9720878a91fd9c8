"""The ids of a file's jobs, in its order; kept on disk, not in memory."""

from collections.abc import Collection, Iterable, Sequence
from typing import Final, Literal, NamedTuple

from runqueue.producer.dedup import Scratch, no_space_reported

#: Jobs of batches that are followed by their counts; and jobs that are polled by their ids.
COUNTED: Final = "counted"
SINGLE: Final = "single"
Which = Literal["counted", "single"]


class Listed(NamedTuple):
    """A job and its position in the file."""

    place: int
    job_id: str


class JobList(Scratch):
    """Jobs with their batches; '' = none."""

    def __init__(self) -> None:
        super().__init__(
            "CREATE TABLE counted (place INTEGER PRIMARY KEY, job_id TEXT, batch INTEGER)",
            "CREATE TABLE single (place INTEGER PRIMARY KEY, job_id TEXT)",
        )
        self.left: dict[Which, int] = {COUNTED: 0, SINGLE: 0}
        self._batches: dict[str, int] = {}

    def add(self, batch: str, job_ids: Iterable[str]) -> None:
        """Put jobs at the end."""
        number = self._batches.setdefault(batch, len(self._batches))
        with no_space_reported():
            rows = [(job_id, number) for job_id in job_ids]
            self._db.executemany("INSERT INTO counted (job_id, batch) VALUES (?, ?)", rows)
        self.left[COUNTED] += len(rows)

    def settle(self, counted: Collection[str], *, keep: bool) -> None:
        """Divide the jobs into the two kinds, once all are there.

        Args:
            counted: the batches that are followed by their counts.
            keep: whether the ids of their jobs are needed.
        """
        others = [(n,) for batch, n in self._batches.items() if batch not in counted]
        with no_space_reported():
            self._db.executemany(
                "INSERT INTO single SELECT place, job_id FROM counted WHERE batch = ?", others
            )
            self._db.executemany("DELETE FROM counted WHERE batch = ?", others)
            if not keep:
                self._db.execute("DELETE FROM counted")
            for which in self.left:
                counting = self._db.execute(f"SELECT count(*) FROM {which}")  # noqa: S608 - a constant
                self.left[which] = counting.fetchone()[0]

    def page(self, which: Which, after: int, size: int) -> list[Listed]:
        """Return some jobs after a position (0 = from the beginning)."""
        query = f"SELECT place, job_id FROM {which} WHERE place > ? ORDER BY place LIMIT ?"  # noqa: S608 - a constant
        with no_space_reported():
            return list(map(Listed._make, self._db.execute(query, (after, size))))

    def remove(self, which: Which, jobs: Sequence[Listed]) -> None:
        """Remove jobs."""
        removing = f"DELETE FROM {which} WHERE place = ?"  # noqa: S608 - a constant
        with no_space_reported():
            self._db.executemany(removing, [(job.place,) for job in jobs])
        self.left[which] -= len(jobs)
