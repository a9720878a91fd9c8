"""Has a price read from each page that comes in, and prints the prices as they are there.

    pip install /path/to/runqueue
    RUNQUEUE_REDIS_URL=redis://… python plain_script.py < pages.txt

Started again with the same pages it makes no second run of any: it goes on waiting.
"""

import sys
from collections.abc import Iterable, Iterator
from typing import Any

from runqueue import RunQueue


def lines(pages: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Make each line when it is submitted: a million pages take no memory."""
    for page in map(str.strip, pages):
        if page:
            body = {"prompt": "Read the price.", "url": page}
            yield {"custom_id": page, "kind": "task", "body": body, "group": "prices"}


def main() -> None:
    """Submit every page, all of them or, if one is wrong, none; then wait for each."""
    with RunQueue() as queue:
        answers = queue.enqueue_many(lines(sys.stdin))
        for answer in answers:
            if not answer.status.is_stored:
                why = answer.fault or "was submitted before with another request"
                print(f"{answer.custom_id}: {why}", file=sys.stderr)
        wanted = {answer.job_id for answer in answers if answer.status.is_stored}
        for job in queue.as_completed(wanted, timeout=3600):
            print(job.custom_id, job.state, job.output or job.failure_reason, flush=True)


if __name__ == "__main__":
    main()
