"""Plain Celery: a task submits, a second one looks and looks again by `self.retry`.

With `acks_late` a killed worker's tasks come again, after Redis' visibility timeout (an hour);
one killed between the POST and the second message submits twice.

python -m bench.others.celery_runs < BODIES   submits
"""

from typing import Any

import httpx
from celery import Celery

from bench.others.told import (
    BASE_URL,
    HEADERS,
    LONGEST_BACKOFF,
    LOOK_SECONDS,
    RATE,
    REDIS_URL,
    TRIES,
    bodies,
    is_over,
)

app = Celery("plain", broker=REDIS_URL)
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_acks_late=True,
    task_ignore_result=True,
    task_reject_on_worker_lost=True,
    worker_hijack_root_logger=False,
    worker_prefetch_multiplier=4,
)

client = httpx.Client(base_url=BASE_URL, headers=HEADERS, timeout=30)

_again = {
    "autoretry_for": (httpx.HTTPError,),
    "retry_backoff": True,
    "retry_backoff_max": LONGEST_BACKOFF,
}


@app.task(max_retries=TRIES, rate_limit=f"{RATE}/s" if RATE else None, **_again)
def run(body: dict[str, Any]) -> None:
    """Submit a run."""
    answer = client.post("/v1/run/tasks", json=body)
    answer.raise_for_status()
    run_id = answer.json()["run_id"]
    if LOOK_SECONDS or not _look(run_id):
        look.apply_async(args=[run_id], countdown=LOOK_SECONDS)


@app.task(bind=True, max_retries=None, **_again)
def look(self: Any, run_id: str) -> None:
    """Look at a run until it is over."""
    if not _look(run_id):
        raise self.retry(countdown=LOOK_SECONDS)


def _look(run_id: str) -> bool:
    answer = client.get(f"/v1/runs/{run_id}")
    answer.raise_for_status()
    return is_over(answer.json())


if __name__ == "__main__":
    # The worker knows this module by its name, not as `__main__`.
    for body in bodies():
        app.send_task("bench.others.celery_runs.run", args=[body])
