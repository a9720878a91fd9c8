"""The calls of those who tell people what goes on: see `notices_claim.lua`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runqueue.store.replies import flat, rows
from runqueue.store.scripts import Argument, ScriptCall, load


@dataclass(frozen=True, slots=True)
class Noticed:
    """What is told of an account, and what there is to tell.

    Args:
        now_us: the queue's clock.
        held_until_us: another process tells it until then; 0 = this one does, and the rest is read.
        fields: the hash `notices`.
        late: unconfirmed jobs that are late; oldest, oldest_us: the first of all, and since when.
        paused: jobs whose runs need a person, and since when.
        groups: by group, how many of its recent jobs ended, and how many of these badly.
        batches: those that are `over` or `aborted`, and since when.
    """

    now_us: int
    held_until_us: int
    fields: Mapping[str, str]
    late: int = 0
    oldest: str = ""
    oldest_us: int = 0
    paused: Sequence[tuple[str, int]] = ()
    groups: Mapping[str, tuple[int, int]] = ()  # type: ignore[assignment]
    batches: Sequence[tuple[str, str, int]] = ()


def notices_claim(
    account: str, role: str, process: str, times_us: Sequence[int]
) -> ScriptCall[Noticed]:
    """Take what is told of an account, and read it.

    Args:
        account: which.
        role, process: as the script has them.
        times_us: of the lease, of late and of recent jobs, as it has them.
    """

    def parse(reply: list[Any]) -> Noticed:
        now_us = int(reply[1])
        if reply[0] == b"held":
            return Noticed(now_us, int(reply[2]), {})
        fields = {name.decode(): value.decode() for name, value in rows(reply[2], 0, 2)}
        if len(reply) == 3:
            return Noticed(now_us, 0, fields)
        _, _, _, (late, oldest, oldest_us), paused, groups, batches = reply
        return Noticed(
            now_us,
            0,
            fields,
            int(late),
            oldest.decode(),
            int(oldest_us),
            [(job.decode(), int(float(since))) for job, since in rows(paused, 0, 2)],
            {group.decode(): (int(n), int(bad)) for group, n, bad in rows(groups, 0, 3)},
            [(batch.decode(), what.decode(), int(at)) for batch, what, at in rows(batches, 0, 3)],
        )

    arguments: list[Argument] = [role, process, *times_us]
    return ScriptCall(load("notices_claim"), account, arguments, parse)


def notices_record(
    account: str,
    role: str,
    process: str,
    fields: Mapping[str, str],
    batches: Sequence[tuple[str, str]] = (),
) -> ScriptCall[bool]:
    """Record what was told; False = another process tells it by now.

    Args:
        account, role, process: as in `notices_claim`.
        fields: of the hash `notices`; '' = the field goes.
        batches: those of which all is told, and what.
    """
    arguments = [role, process, len(fields), *flat(fields.items()), *flat(batches)]
    return ScriptCall(load("notices_record"), account, arguments, bool)
