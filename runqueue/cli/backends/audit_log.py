"""The audit of what commands do to the queue: who, what, and to how many.

The gateway itself notes what is done through it. A note that Redis does not take is reported and
changes no exit code, since the action is done. Each note goes to the machine's own log (syslog,
facility `auth`) as well, as one JSON object, where there is one; see `runqueue/store/audit.py`.
"""

import json
import syslog
from collections import Counter
from collections.abc import Iterable, Mapping

from redis.exceptions import RedisError

from runqueue.cli.backends.direct import AnyQueue
from runqueue.cli.shared.actor import user
from runqueue.cli.shared.exit_codes import tell
from runqueue.cli.shared.formatting import counted
from runqueue.errors import RunQueueError
from runqueue.ids import DEFAULT
from runqueue.producer.queue import RunQueue
from runqueue.store.accounts import account_of


def note(queue: AnyQueue, what: str, target: str = "", detail: str = "", *, account: str) -> None:
    """Note what a command did to an account, or to something in it.

    Args:
        queue: the queue.
        what: the action, as the page and the API name it.
        target: the job, batch or group that it was done to; '' = the account, or many.
        detail: what it came to, in words.
        account: which.
    """
    if not isinstance(queue, RunQueue):
        return
    who = user()
    try:
        queue.note(who, what, target, detail, account=account)
    except (RunQueueError, RedisError) as error:
        tell(f"runqueue: it is done, but could not be noted: {error}")
    entry = {"what": what, "who": who, "account": account, "target": target, "detail": detail}
    syslog.openlog("runqueue", facility=syslog.LOG_AUTH)
    syslog.syslog(syslog.LOG_NOTICE, json.dumps(entry))


def note_jobs(
    queue: AnyQueue,
    what: str,
    job_ids: Iterable[str],
    came_to: str,
    *,
    noun: str = "job",
    of: int = 0,
    by: str = "",
) -> None:
    """Note what was done to jobs, once for each account that has some of them.

    Args:
        queue, what: as for `note`.
        job_ids: those to which it was done; none = nothing is noted.
        came_to: what it came to, in words.
        noun: what one of them is.
        of: how many were meant, if more.
        by: the filter that chose them, in words.
    """
    if not isinstance(queue, RunQueue):
        return
    ids = list(job_ids)
    owners = _owners(queue, ids)
    if len(ids) == 1 and of <= 1 and not by:
        note(queue, what, ids[0], came_to, account=owners[0])
        return
    note_counts(queue, what, Counter(owners), came_to, noun=noun, of=max(of, len(ids)), by=by)


def note_counts(
    queue: AnyQueue,
    what: str,
    counts: Mapping[str, int],
    came_to: str,
    *,
    noun: str,
    of: int,
    by: str = "",
) -> None:
    """Note what was done to many things, once for each account.

    Args:
        queue, what, came_to, by: as for `note_jobs`.
        counts: how many of which account.
        noun: what one of them is.
        of: how many there are in all.
    """
    for account, n in counts.items():
        size = counted(n, noun) if n == of else f"{n:,} of {counted(of, noun)}"
        words = f"{size}: {came_to}"
        note(queue, what, detail=f"{by}: {words}" if by else words, account=account)


def _owners(queue: RunQueue, ids: list[str]) -> list[str]:
    """Return the accounts of ids; reads names from Redis only if there is more than `default`."""
    found = [account_of(some_id, [DEFAULT]) for some_id in ids]
    if None not in found:
        return [DEFAULT] * len(ids)
    known = queue.accounts()
    return [account_of(some_id, known) or DEFAULT for some_id in ids]
