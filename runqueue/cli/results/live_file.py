"""The results file: one line of JSON for each job, as the jobs end."""

from collections.abc import Sequence
from pathlib import Path

import orjson

from runqueue.cli.follow.batch_counts import GONE
from runqueue.cli.results.line_file import LineFile
from runqueue.producer.queue import RunQueue


class Results(LineFile):
    """The rows of jobs as they end; a part that exists is begun anew."""

    def __init__(self, name: Path) -> None:
        super().__init__(name)
        with self.failing():
            if self.path != self.target:
                # `runqueue results` may have left this; it would append to these rows.
                self.side.unlink(missing_ok=True)
            self.cut(0, 0)

    def write(self, queue: RunQueue, job_ids: Sequence[str]) -> None:
        """Write the rows of some jobs; if they cannot be read, none."""
        rows = [
            job.as_row() if job else {"job_id": job_id, "state": GONE}
            for job_id, job in zip(job_ids, queue.get_many(job_ids), strict=True)
        ]
        self.append([orjson.dumps(row) + b"\n" for row in rows])
