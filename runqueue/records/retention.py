"""How long what is over is retained in Redis.

**One account, for another time.** The setting `RUNQUEUE_KEEP=completed:1d,failed:30d` (for another
account `RUNQUEUE_ACCOUNTS__<NAME>__KEEP`) says it by the state in which jobs end; a state that it
does not name has RETENTION_SECONDS. `config/retention.py` checks it. A worker that starts writes it
to the account's limits (`worker/process/account.py`, `env:keep_<state>`, in days), so every worker
of the account has to have it: the one that started last decides. The Lua functions read it in one
place, `lua/lib/jobs/retention.lua`. So these last as the setting says:

- an ended job's record, body, result and webhook. Its idempotency key finds it for as long. A batch
  goes with the last of its jobs and callbacks. `lua/sweep/retire.lua` removes jobs in the order of
  their ends, with a walk for each duration; while a webhook is not delivered, after RETENTION at
  least;
- the lists of ends (`ended:<day>`): as long as the account's longest, RETENTION at least;
- how far back jobs are looked for that are to be compressed (`lua/sweep/unpacked.lua`), and the
  date of removal on a job's page (`lua/read/read_history.lua`).

**The same for every account.** The Lua functions have RETENTION_SECONDS as RETENTION, and
MOST_RETENTION_SECONDS as MOST_RETENTION (`store/scripts.py`). So long lasts:

- That a run is some job's own: in the job's record, and after that if the record goes earlier or is
  discarded. Then the attempts of the job's idempotency key last so long, too, and the key's next
  job takes none of its runs (`lua/lib/jobs/jobs.lua`).
- An orphan run, from when it was noticed.
- An expired batch that nobody resumes, until its waiting jobs are canceled
  (`lua/sweep/hold_expired.lua`); the record of an upload that was not finished in time
  (`lua/sweep/expire_batches.lua`).

What relies on that stops a day earlier, at SURELY_RETAINED_SECONDS. With a longer RETENTION all of
it stays correct as it is; a shorter one has to shorten this, too:

- matching a run to a job by its request (`worker/runs/search.py`);
- further tries of a webhook (`worker/stages/deliver.py`, `config/webhooks.py`);
- the ends that `GET /v1/events` repeats (`gateway/api/end_log.py`), those of removed jobs apart;
- telling a webhook of a lost job from one of a removed job (`lua/record/record_webhook.lua`).

The body that Skyvern signed goes with its job; MOST_RETENTION is when Redis itself would drop it
(`lua/lib/jobs/webhooks.lua`).
"""

from typing import Final

#: Seconds from a job's end to its removal, unless its account has a setting of its own.
RETENTION_SECONDS: Final = 7 * 86_400
#: The most that such a setting may say.
MOST_RETENTION_SECONDS: Final = 365 * 86_400
#: Seconds from a job's end for which it is surely known whose its run is: a day less, since clocks
#: differ and lists of ends have whole days.
SURELY_RETAINED_SECONDS: Final = RETENTION_SECONDS - 86_400
