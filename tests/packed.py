"""Packing as the worker's sweep does it, at once and to the end."""

from typing import cast

import redis

from runqueue.store import compression, pack_calls
from runqueue.store.keys import Keys
from runqueue.store.sending import run

ACCOUNT = "default"


def pack_all(client: redis.Redis, limit: int = 100) -> int:
    """Pack every job that is over; returns how many were."""
    seconds, rest = client.time()
    now_us = seconds * 1_000_000 + rest
    total = 0
    while True:
        read = run(client, pack_calls.unpacked(ACCOUNT, 0, limit, 1 << 20), now_us)
        if read.stands == read.stands_then:
            return total
        jobs = [packed for job in read.jobs if (packed := pack_calls.packed(job))]
        total += run(client, pack_calls.pack(ACCOUNT, read, jobs), now_us)


def is_packed(client: redis.Redis, job_id: str) -> bool:
    """Tell whether a job's body is packed, and holds its result."""
    prefix = Keys(ACCOUNT).prefix
    body = cast("bytes", client.get(f"{prefix}body:{job_id}"))
    return compression.is_packed(body.partition(b"\n")[2]) and not client.exists(
        f"{prefix}result:{job_id}"
    )
