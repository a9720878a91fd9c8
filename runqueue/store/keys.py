"""Every Redis key of the project, and the format of what is in them.

All keys of an account carry the hash tag `{account}`: one script touches one account, so the state
can live on a Redis Cluster. The scripts derive their keys from the account's `meta` key, the only
one they are given; `TABLE` is the whole layout.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from runqueue.errors import OtherFormat

#: What each key of an account holds.
TABLE = """
======================  ======  ===============================================================
key after the prefix    type    holds
======================  ======  ===============================================================
job:<id>                hash    what changes of a job (state, attempt, run_id, ...)
body:<id>               string  envelope line + the request body as it will be sent; later packed,
                                with the result
result:<id>             string  the API's answer as it came, from the end on
attempts:<id>           string  of a discarded job, retained: "<next> <request> <first>"
lane:<p>:<group>:<b>    list    ids ready at priority p, of one group and one batch ('-' none)
lane:<p>:<group>:<b>+   list    those of them that are the batch's canary
lanes:<p>:<group>       list    batches with a lane to claim from, next turn first
ring:<p>                zset    groups by virtual time
group:<g>               hash    max_concurrent, live, paused, virtual time per priority
groups                  set     groups with a cap, or paused
paused_lanes            set     <p>:<group> at each priority of those that are paused
busy                    zset    groups by how many of their jobs are ready or take a slot
batch:<b>               hash    sealed, held (and why), rules, counts by state, finished_at,
                                how fast its jobs end, what its callback_url is to hear of
batch_jobs:<b>          list    the batch's job ids
batch_lanes:<b>         set     <p>:<group> of every lane the batch ever used
batch_left:<b>          set     jobs of an open batch that other uploads took over
listing                 hash    batches that run again, by how far the listing of their lanes is
dropping                set     batches that are gone, with lanes that are yet to be removed
batches, unsealed       zset    batches by creation time
expiring                zset    batches by when their time is up
callbacks               zset    '<batch> <event>' by the next try to report it
canceling               hash    canceled or expired batches the sweep walks, how far it is
ends_after_recovery     zset    waiting jobs to end once the recovery of Redis is over, by when
quarantined             zset    jobs whose records cannot be read, by when that was met
due, deadlines          zset    scheduled jobs by run_at; jobs by deadline
claims:<process>        zset    submissions under way, by claim time
claim:<claim_id>        string  what a claim took, for a claim that is repeated
unconfirmed             zset    jobs whose submission's answer was lost, by when
reconcile               zset    unconfirmed jobs by the next search for their runs
unconfirmed_no_slot     zset    unconfirmed jobs that gave their slot back
relays, watches         zset    ended jobs by the next try of their webhook: ours, or Skyvern's
abandoned, unknown      zset    ended jobs whose webhook was abandoned, or may not have come
webhook:<id>            string  what Skyvern signed, where that is not the result
endpoint:<hash>         hash    the breaker of a receiver that does not answer
wake:webhooks           list    at most one element: a webhook may be relayed
poll, cancels           zset    running jobs by next poll; cancels by next try ("orphan <run>", too,
                                and "approve <id>")
paused                  zset    running jobs whose runs wait for a person, by since when
listed                  zset    running jobs that are left to the list of live runs, by since when
long_queued             zset    running jobs whose runs are still queued, by when that was seen
runs:<bucket>           hash    run_id -> job id ('~<id>' = it was that job's), in buckets
orphans, orphan_jobs    hash    runs of ours that no job owns (orphans), by run and by job
orphan_polls            zset    orphans that may still run, and so take a slot, by the next poll
ended:<day>             list    jobs in the order they ended ("orphan <run>", too), for retention
archive                 hash    which archive ended jobs are copied to, by whom, and how far
archive_again           zset    archived jobs of which more may come, by when they are read again
archive_aside           hash    ended job -> why the archive's database cannot store it
dead                    zset    dead jobs by their end
inbox                   list    lines that producers pushed
inbox:taken             hash    lines that a worker makes jobs of, by number
inbox:leases            zset    their numbers, by when they are given out again
inbox:invalid           list    lines that were refused, with their errors
notices                 hash    who sends notifications, and which were sent: notices.lua
batch_ends              zset    <event>:<batch, or what is said>, by when it happened; notifications
                                of them are due
processes               zset    live processes by lease deadline
clocks                  hash    process -> the queue's time at its last report, and its own
active_consumers:<stage> zset    processes that have an active consumer of the stage, by when that
                                is stale
wake, wake:<process>    list    at most one element: there may be work
gcra:<name>             string  the limiters' theoretical arrival times
schedules               zset    schedules, by when a worker looks at each next
schedule:<name>         hash    spec, mark, paused, version, who claimed it, the batch under way,
                                what it uploads, f:<at_us> -> a firing
schedule_lines:<d>      list    a file of lines in chunks; the last one is empty
files                   hash    uploaded file -> the job that holds it
key:<key>               set     jobs that have a key with their slot ("orphan <run>", too)
key_waits:<key>         zset    lanes whose jobs wait for a key, without "lane:", in their order
key_offers:<key>        zset    those that claims may take from now
key_elsewhere:<key>     zset    those that need it, too, and wait for another key
key_passed:<key>        string  "<lane> <n>": n later jobs had the key before first waiter
key_next:<key>          string  when the next job may begin by the key's rate
key_limits              hash    key, or <first segment>:*, -> its limit
key_pause:<key>         string  of a browser session that Skyvern calls occupied: "<until> <pauses>"
held_keys               zset    keys for which lanes wait, by when they are looked at again
orphan_takes            hash    orphan run -> its job's group, batch, max_steps and keys, as long as
                                it takes them
budgets                 hash    account, group:<group>, batch:<b>, key:<key> or
                                key:<first segment>:* -> its budget of steps or credits
budget_runs             hash    the same -> "<runs> <amount> <unit>" of runs that ended
spent:<scope>:<window>  hash    what -> steps spent; "<what>?" -> runs that count as expected;
                                of credits with ":credits" behind
group_credits           hash    runs, credits, … <group>: of runs with credits (run_figures.lua)
run_details             zset    workflow runs whose details are to be read, by when
run_details_of          hash    the same -> "<job> <its run> <since> <tries>", and a line for each
                                budget that counts it as expected
max_steps:<what>        hash    live job, or "orphan <run>" -> what it may take of strict budgets;
                                "sum" -> of all of them
commits                 set     what has max_steps:<what>
held_budgets            zset    what waits for its budget, by when it is checked again
deferred:<what>         zset    jobs that a strict budget has too few steps for, by need
deferred_for            zset    what has deferred:<what>, by when it is checked again
limits                  hash    env:<limit>, live:<limit>; env:keep_<state> (retention in days),
                                env:share_capacity
quota_use               hash    what waits of jobs that quotas count: bytes, and by caller
                                jobs:<name>, bytes:<name>
audit                   stream  what operators did, the last ten thousand actions
ended                   channel ids of jobs that end, for waiters
counters                hash    <state>:<priority>, live, totals since ever
meta                    hash    Redis run_id, claim sequence, tick, hold, pause, pace, how
                                reads fare, how far packing and retention are, whether the
                                last claim's webhooks are sent to our receiver (receives)
======================  ======  ===============================================================
"""
_ROW = re.compile(
    r"([a-z_:]+(?:<[^>]+>)?\S*(?:, [a-z_:<>]+)*) {2,}(hash|list|set|stream|string|zset|channel) "
)


def rows() -> Iterator[tuple[str, str]]:
    """Yield each key of the table and its type."""
    for line in TABLE.splitlines():
        if found := _ROW.match(line):
            yield from ((name, found[2]) for name in found[1].split(", "))


#: The set of known accounts, under a tag of its own.
ACCOUNTS = "runqueue:{accounts}"
#: A string: the format of all that is stored. Every process compares it before it serves.
FORMAT_KEY = f"{ACCOUNTS}:format"
#: Rises with each change of what is stored, or of what scripts take and reply, that another process
#: would misread: what another format wrote is not read.
FORMAT = 1
#: Seconds after which a client compares again: Redis may have been replaced, or emptied.
COMPARED_SECONDS = 10.0
#: A hash: the gateways' page sessions, by the digests of their cookies
#: (`gateway/state/sessions.py`).
SESSIONS = "runqueue:{sessions}"


def is_own_format(found: bytes | str | None) -> bool:
    """Say whether a format that was read is this version's; None = there is none yet.

    Raises:
        OtherFormat: it is another one.
    """
    stored = found.decode(errors="replace") if isinstance(found, bytes) else found
    if stored not in {None, str(FORMAT)}:
        raise OtherFormat(str(stored), FORMAT)
    return stored is not None


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one account that Python itself names; scripts derive theirs from `meta`.

    Args:
        account: the account; `*` in a pattern for channels.
    """

    account: str

    @property
    def prefix(self) -> str:
        """What every key of the account begins with."""
        return f"runqueue:{{{self.account}}}:"

    @property
    def meta(self) -> str:
        """KEYS[1] of every script."""
        return f"{self.prefix}meta"

    def wake(self, process: str | None = None) -> str:
        """The wake-up list of the account, or of one process in it."""
        return f"{self.prefix}wake" if process is None else f"{self.prefix}wake:{process}"

    @property
    def ended(self) -> str:
        """The channel of jobs that end."""
        return f"{self.prefix}ended"

    def ended_on(self, day: int) -> str:
        """The list of the jobs that ended on a day, counted from 1970."""
        return f"{self.prefix}ended:{day}"
