"""Sweeping: what time alone changes. One bounded pass a message; the rest waits for the next."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial

from runqueue.connection.redis_errors import damage_of
from runqueue.store import worker_calls
from runqueue.store.scripts import Argument
from worker.process.account import AccountRuntime
from worker.stages.packing import pack_ended

#: Entries walked by one script call: two or three milliseconds in which Redis serves nothing else.
LIMIT = 100
#: Calls of one script in one pass.
ROUNDS = 100
#: Seconds that an upload may stay unfinished.
UPLOAD_SECONDS = 86_400
#: Seconds after which a claim is taken over although its process lives: a submission's total time
#: (60 s) and what a slow key check and recording may add.
CLAIM_SECONDS = 75.0

#: Stand for the account's own limits in the table below.
MAX_RUN, MAX_WORKFLOW_RUN = "max_run", "max_workflow_run"

#: Each script and its arguments, in the order of one pass.
STEPS: tuple[tuple[str, tuple[Argument, ...]], ...] = (
    ("expire_leases", (int(CLAIM_SECONDS * 1e6), LIMIT)),
    ("free_slots", (MAX_RUN, MAX_WORKFLOW_RUN, LIMIT)),
    ("promote_due", (LIMIT,)),
    ("expire_deadlines", (LIMIT,)),
    ("hold_expired", (LIMIT,)),
    ("sweep_canceled", (LIMIT,)),
    ("retire", (LIMIT,)),
    ("expire_batches", (int(UPLOAD_SECONDS * 1e6), LIMIT)),
    ("step_lanes", (LIMIT,)),
)


async def sweep(account: AccountRuntime) -> dict[str, int]:
    """Run one pass and return how many entries each step walked, or packed.

    Where a step meets what it cannot read, the others are made all the same.

    Raises:
        ResponseError: what the first of those steps met.
    """
    walked: dict[str, int] = {}
    damage: Exception | None = None
    for name, step in _steps(account):
        try:
            walked[name] = await step()
        except Exception as error:
            if damage_of(error) is None:
                raise
            damage = damage or error
    if walked.get("expire_leases"):
        account.log.warning("claims_taken_over", claims=walked["expire_leases"])
    if damage is not None:
        raise damage
    return walked


def _steps(account: AccountRuntime) -> Iterator[tuple[str, Callable[[], Awaitable[int]]]]:
    run_us, workflow_us = account.run_limits_us
    limits: dict[Argument, Argument] = {MAX_RUN: run_us, MAX_WORKFLOW_RUN: workflow_us}
    for script, arguments in STEPS:
        given = [limits.get(argument, argument) for argument in arguments]
        yield script, partial(_walk, account, script, given)
    yield "pack", lambda: pack_ended(account)


async def _walk(account: AccountRuntime, script: str, arguments: Sequence[Argument]) -> int:
    """Run one script until it has walked all there is, or as often as one pass may."""
    total = 0
    for _ in range(ROUNDS):
        count = await account.run(worker_calls.sweep, script, *arguments)
        total += count
        if count < LIMIT:
            break
    return total
