"""Packing: what is kept of jobs that are over, for replay and for people, gets smaller."""

import asyncio

from runqueue.store import pack_calls
from worker.process.account import AccountRuntime

#: Seconds after its end that a job lies as it came: those who wait for it read it meanwhile.
AFTER_SECONDS = 600
#: Jobs in one step, and bytes of them: about a millisecond in which Redis serves nothing else.
LIMIT, LIMIT_BYTES = 50, 1024 * 1024
#: Steps in one pass; when there is more to do, the next sweep comes after a second.
ROUNDS = 60


async def pack_ended(account: AccountRuntime, after_us: int = AFTER_SECONDS * 1_000_000) -> int:
    """Pack jobs that ended a while ago, in one bounded pass; return how many were packed."""
    total = 0
    for _ in range(ROUNDS):
        read = await account.run(pack_calls.unpacked, after_us, LIMIT, LIMIT_BYTES)
        if read.stands_then == read.stands:
            break
        # In a thread of its own: a result may have megabytes.
        jobs = await asyncio.to_thread(_packed, read.jobs)
        total += await account.run(pack_calls.pack, read, jobs)
        if not read.more:
            break
    return total


def _packed(jobs: list[pack_calls.PlainJob]) -> list[pack_calls.Packed]:
    return [packed for job in jobs if (packed := pack_calls.packed(job)) is not None]
