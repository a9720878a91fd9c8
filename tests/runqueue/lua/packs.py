"""Jobs that are over, packed by hand, and how they read."""

from __future__ import annotations

from typing import Any, cast

import orjson

from runqueue.records.claim_items import Finished
from runqueue.store import compression, operator_calls, pack_calls, worker_calls
from runqueue.store.pack_calls import Unpacked
from tests.runqueue.lua.clockwork import Clockwork

PROMPT = "Read the name, the price and the stock of the item on this page, and its seller's name."
RESULT = orjson.dumps({"run_id": "r", "output": {"price": "12.50"}, "run_request": PROMPT})


def over(clock: Clockwork, n: int = 1, state: str = "completed", **options: Any) -> list[str]:
    """Jobs that are over, each with a result."""
    job_ids = clock.running(n, body=PROMPT, **options)
    done = [Finished(i, 1, f"r-{i}", state, state, "", RESULT) for i in job_ids]
    assert clock.run(worker_calls.finish(clock.account, done)) == [1] * n
    clock.wait(0.001)
    return job_ids


def look(
    clock: Clockwork, *, after: int = 0, limit: int = 100, allowed_bytes: int = 1 << 20
) -> Unpacked:
    """Read what is to be packed."""
    return clock.run(pack_calls.unpacked(clock.account, after, limit, allowed_bytes))


def store(clock: Clockwork, read: Unpacked) -> int:
    """Store what was read, packed."""
    jobs = [packed for job in read.jobs if (packed := pack_calls.packed(job))]
    return clock.run(pack_calls.pack(clock.account, read, jobs))


def pack(clock: Clockwork, **options: int) -> int:
    """One step of packing; returns how many jobs were packed."""
    return store(clock, look(clock, **options))


def body(clock: Clockwork, job_id: str) -> bytes:
    """The body as it is stored."""
    return cast("bytes", clock.client.get(clock.key(f"body:{job_id}")))


def is_packed(clock: Clockwork, job_id: str) -> bool:
    """Tell whether the stored body is packed."""
    return compression.is_packed(body(clock, job_id).partition(b"\n")[2])


def replay(clock: Clockwork, *job_ids: str) -> list[int]:
    """People have jobs done again."""
    return clock.run(operator_calls.replay(clock.account, clock.seen(*job_ids)))


def meta(clock: Clockwork, name: str) -> bytes | None:
    """A field of the account's meta."""
    return cast("bytes | None", clock.client.hget(clock.key("meta"), name))
