"""dramatiq: an actor submits, a second one looks and sends itself again as a delayed message.

Messages are acknowledged when they are done, and a killed worker's come again after its heartbeat
ends (a minute); one killed between the POST and the second message submits twice. Its limiter is
shared by all workers, through Redis.

python -m bench.others.dramatiq_runs < BODIES   submits
"""
# mypy: disable-error-code="untyped-decorator"

import random
from typing import Any

import dramatiq  # type: ignore[import-not-found]
import httpx
from dramatiq.brokers.redis import RedisBroker  # type: ignore[import-not-found]
from dramatiq.rate_limits import WindowRateLimiter  # type: ignore[import-not-found]
from dramatiq.rate_limits.backends import RedisBackend  # type: ignore[import-not-found]

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

broker = RedisBroker(url=REDIS_URL)
dramatiq.set_broker(broker)

client = httpx.Client(base_url=BASE_URL, headers=HEADERS, timeout=30)
limiter = WindowRateLimiter(RedisBackend(url=REDIS_URL), "submissions", limit=RATE or 1, window=1)

_again = {"min_backoff": 1000, "max_backoff": 1000 * LONGEST_BACKOFF}


@dramatiq.actor(max_retries=TRIES, **_again)
def run(body: dict[str, Any]) -> None:
    """Submit a run, or come back within a second if the limit does not allow it now."""
    if RATE:
        with limiter.acquire(raise_on_failure=False) as allowed:
            if not allowed:
                run.send_with_options(args=(body,), delay=random.randrange(1000))
                return
    answer = client.post("/v1/run/tasks", json=body)
    answer.raise_for_status()
    run_id = answer.json()["run_id"]
    if LOOK_SECONDS or not _look(run_id):
        look.send_with_options(args=(run_id,), delay=int(1000 * LOOK_SECONDS))


@dramatiq.actor(max_retries=None, **_again)
def look(run_id: str) -> None:
    """Look at a run until it is over."""
    if not _look(run_id):
        look.send_with_options(args=(run_id,), delay=int(1000 * LOOK_SECONDS))


def _look(run_id: str) -> bool:
    answer = client.get(f"/v1/runs/{run_id}")
    answer.raise_for_status()
    return is_over(answer.json())


if __name__ == "__main__":
    for body in bodies():
        # The workers know these actors by their names alone.
        run.send(body)
