"""Prints how many jobs ended in the last day, by state, group and reason, and how to retry them.

pip install '/path/to/runqueue[cli]'
RUNQUEUE_REDIS_URL=redis://… python nightly_report.py
"""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from shlex import quote

from runqueue import Filter, RunQueue


def report(queue: RunQueue) -> Iterator[str]:
    """Yield the lines of the report."""
    since = datetime.now(UTC) - timedelta(days=1)
    for state in ("completed", "canceled", "failed", "dead"):
        counts = Counter[tuple[str, str]]()
        for page in queue.job_pages(Filter(state=state, since=since)):  # of all accounts
            # Reasons that begin alike are counted together.
            counts.update((job.group, (job.reason or "")[:60].strip()) for job in page.jobs)
        for (group, reason), count in counts.most_common():
            yield f"{count:5} {state} in {group}{reason and ': '}{reason}"
            if state in {"failed", "dead"}:
                alike = f" --reason {quote(reason)}" if reason else ""
                yield f"      runqueue dead replay --state {state} --group {quote(group)}{alike}"


if __name__ == "__main__":
    with RunQueue() as the_queue:
        for line in report(the_queue):
            print(line)
