"""Enqueues jobs into the queue of the tree that PYTHONPATH names, and waits for their ends.

`bench/cost.py` runs it for two trees; it uses only what both have.

python driver.py REDIS_URL COUNT RATE   RATE = jobs a second, each by a call; 0 = all by one call
"""

import sys
import time

from runqueue import RunQueue, TaskRunRequest

_PROMPT = "x" * 480


def main(redis_url: str, count: int, rate: float) -> None:
    """Enqueue so many jobs, and return once that many more have completed."""
    requests = [
        TaskRunRequest(
            prompt=_PROMPT, url=f"https://shop.test/{i}", engine="skyvern-1.0", max_steps=10
        )
        for i in range(count)
    ]
    with RunQueue(redis_url) as queue:

        def completed() -> int:
            account = queue.stats().get("default")
            return account.totals.get("ended:completed", 0) if account else 0

        goal = completed() + count
        if rate:
            began = time.monotonic()
            for number, request in enumerate(requests):
                time.sleep(max(0.0, began + number / rate - time.monotonic()))
                queue.enqueue(request)
        else:
            queue.enqueue_many(requests)
        while completed() < goal:
            time.sleep(0.5)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
