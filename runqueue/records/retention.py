"""How long what is over is retained in Redis.

RETENTION_SECONDS decides for every account and every state in which a job ends. The Lua functions
have it as RETENTION (`store/scripts.py`). An account's own value would stand with its limits
(`lua/process/seed_limits.lua`), and the Lua functions would read that instead. Retained so long:

- An ended job: its record, body, result, webhook, and the entry that its run is its own. Its
  idempotency key finds it for as long. `lua/sweep/retire.lua` removes jobs in the order of their
  ends. A batch goes with the last of its jobs and callbacks.
- An orphan run, from when it was noticed, and the lists of ends (`ended:<day>`): `retire.lua`, too.
- Of a discarded job: how many attempts its idempotency key has had, and whose its runs were, so
  that the key's next job takes none of them (`lua/lib/jobs/jobs.lua`).
- An expired batch that nobody resumes, until its waiting jobs are canceled
  (`lua/sweep/hold_expired.lua`); the record of an upload that was not finished in time
  (`lua/sweep/expire_batches.lua`).

How far back jobs are looked for that are to be compressed (`lua/sweep/unpacked.lua`), and the date
of removal on a job's page (`gateway/page/details.py`), follow from it.

What relies on a record stops a day earlier, at SURELY_RETAINED_SECONDS. With a longer retention all
of it stays correct as it is; a shorter one has to shorten this, too:

- matching a run to a job by its request (`worker/runs/search.py`);
- further tries of a webhook (`worker/stages/deliver.py`; `config/webhooks.py` imports no other
  package and has the same number, which a test compares);
- the ends that `GET /v1/events` repeats (`gateway/api/end_log.py`);
- telling a webhook of a lost job from one of a removed job (`lua/record/record_webhook.lua`).

The body that Skyvern signed expires a day after the retention (`lua/lib/jobs/webhooks.lua`).
"""

from typing import Final

#: Seconds from a job's end to its removal.
RETENTION_SECONDS: Final = 7 * 86_400
#: Seconds from a job's end for which it is surely on record: a day less, since clocks differ and
#: lists of ends have whole days.
SURELY_RETAINED_SECONDS: Final = RETENTION_SECONDS - 86_400
