"""The audit log of what commands do to the queue: who, what, and to how many jobs.

The gateway itself records what is done through it. An entry that Redis refuses is reported and
changes no exit code, since the action is done. Each entry goes to the machine's own log (syslog,
facility `auth`) as well, where there is one, as a JSON object; see `runqueue/store/audit.py`.
"""

import json
import os
import pwd
import socket
import syslog
from collections import Counter
from collections.abc import Iterable, Mapping

from redis.exceptions import RedisError

from runqueue.cli.shared.exit_codes import print_err
from runqueue.cli.shared.formatting import counted
from runqueue.cli.shared.queues import Queue
from runqueue.errors import RunQueueError
from runqueue.ids import DEFAULT
from runqueue.producer.queue import RunQueue
from runqueue.store import audit
from runqueue.store.accounts import account_of


def record_change(
    queue: Queue, what: str, target: str = "", detail: str = "", *, account: str
) -> None:
    """Record what a command did to an account, or to something in it.

    Args:
        queue: the queue.
        what: the action, as the page and the API name it.
        target: the job, batch or group that it was done to; '' = the account, or many.
        detail: the outcome, in words.
        account: the account's name.
    """
    if not isinstance(queue, RunQueue):
        return
    who = user()
    try:
        queue.send(audit.add_entry(account, who, what, target, detail))
    except (RunQueueError, RedisError) as error:
        print_err(f"runqueue: it is done, but could not be recorded: {error}")
    entry = {"what": what, "who": who, "account": account, "target": target, "detail": detail}
    syslog.openlog("runqueue", facility=syslog.LOG_AUTH)
    syslog.syslog(syslog.LOG_NOTICE, json.dumps(entry))


def record_jobs_change(
    queue: Queue, what: str, job_ids: Iterable[str], came_to: str, *, of: int = 0, by: str = ""
) -> None:
    """Record what was done to jobs, in one entry for each of their accounts.

    Args:
        queue, what: as for `record_change`.
        job_ids: those to which it was done; none = nothing is recorded.
        came_to: the outcome, in words.
        of: how many were chosen, if more.
        by: the filter that chose them, in words.
    """
    if not isinstance(queue, RunQueue):
        return
    ids = list(job_ids)
    known = queue.accounts() if ids else []
    owners = [account_of(some_id, known) or DEFAULT for some_id in ids]
    if len(ids) == 1 and of <= 1 and not by:
        record_change(queue, what, ids[0], came_to, account=owners[0])
        return
    record_counts_change(
        queue, what, Counter(owners), came_to, noun="job", of=max(of, len(ids)), by=by
    )


def record_counts_change(
    queue: Queue,
    what: str,
    counts: Mapping[str, int],
    came_to: str,
    *,
    noun: str,
    of: int,
    by: str = "",
) -> None:
    """Record what was done to many jobs or runs, in one entry for each account.

    Args:
        queue, what, came_to, by: as for `record_jobs_change`.
        counts: how many, by account.
        noun: what one of them is called.
        of: how many were chosen in all.
    """
    for account, n in counts.items():
        size = counted(n, noun) if n == of else f"{n:,} of {counted(of, noun)}"
        words = f"{size}: {came_to}"
        record_change(queue, what, detail=f"{by}: {words}" if by else words, account=account)


def user() -> str:
    """Return the name of the process's user on this machine, from its uid, not its environment."""
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:  # a container's user without an entry
        name = f"uid {uid}"
    return f"{name}@{socket.gethostname()} (command line)"
