"""Sweeping: what time alone changes. One bounded pass a message; the rest waits for the next."""

import structlog

from runqueue import stages
from runqueue.run_limits import WORKFLOW_RUN_US
from runqueue.scripts import Argument
from worker.account import AccountLink
from worker.packing import pack_ended

log = structlog.get_logger()

#: Entries walked by one script call: two or three milliseconds in which Redis serves nothing else.
LIMIT = 100
#: Calls of one script in one pass.
ROUNDS = 100
#: Seconds that finished jobs and their idempotency keys are kept.
KEEP_SECONDS = 7 * 86_400
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
    ("retire", (int(KEEP_SECONDS * 1e6), LIMIT)),
    ("expire_batches", (int(UPLOAD_SECONDS * 1e6), LIMIT)),
    ("step_lanes", (LIMIT,)),
)


async def sweep(account: AccountLink) -> dict[str, int]:
    """Run one pass and return how many entries each step walked, or packed."""
    walked = {}
    limits: dict[Argument, Argument] = {
        MAX_RUN: account.max_run_us,
        MAX_WORKFLOW_RUN: max(account.max_run_us, WORKFLOW_RUN_US),
    }
    for script, arguments in STEPS:
        given = [limits.get(argument, argument) for argument in arguments]
        total = 0
        for _ in range(ROUNDS):
            count = await account.send(stages.sweep(account.name, script, *given))
            total += count
            if count < LIMIT:
                break
        walked[script] = total
    # Older workers of a rolling upgrade leave what only a migration lists.
    await account.send(stages.migrate(account.name, LIMIT))
    walked["pack"] = await pack_ended(account)
    if walked["expire_leases"]:
        log.warning("claims_taken_over", account=account.name, claims=walked["expire_leases"])
    return walked
