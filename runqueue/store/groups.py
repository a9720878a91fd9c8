"""Groups: shares of an account, which can be capped and paused, and the calls about them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Literal, NamedTuple

from runqueue.errors import FieldError, InvalidGroup
from runqueue.ids import NAME_WORDS, is_name
from runqueue.records.as_json import json_object
from runqueue.store.replies import rows, texts
from runqueue.store.scripts import ScriptCall, load

#: Groups that are listed, at most, and how many of them one call reads.
MOST, A_CALL = 1000, 500


class _Keep(Enum):
    KEEP = "as it is"


#: Leaves a setting as it is, where None means that there is none.
KEEP: Final = _Keep.KEEP
Keep = Literal[_Keep.KEEP]


@dataclass(frozen=True, slots=True)
class Group:
    """A group as it is now.

    Args:
        max_concurrent: how many of its jobs may have a slot at once; None = as many as there are.
        paused: whether nothing of it is submitted.
        live: slots that it takes now.
        ready: its ready jobs, those of held batches included.
    """

    name: str
    account: str
    max_concurrent: int | None
    paused: bool
    live: int
    ready: int

    def as_dict(self) -> dict[str, Any]:
        """Return the group as JSON values."""
        shown = json_object(self, "account", "max_concurrent", "paused", "live", "ready")
        return {"group": self.name, **shown}


class GroupCredits(NamedTuple):
    """The credits of a group's runs, since the account was made.

    Args:
        group: its name; `(others)` = all groups beyond the first 1,000.
        runs: runs that cost credits.
        credits, cached_credits, credits_estimated: see `Usage`.
    """

    group: str
    runs: int = 0
    credits: int = 0
    cached_credits: int = 0
    credits_estimated: int = 0


def group_credits(account: str) -> ScriptCall[list[GroupCredits]]:
    """Read the credits of each group, those first that took most."""

    def parse(reply: list[Any]) -> list[GroupCredits]:
        found: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for field, n in rows(reply, 0, 2):
            what, group = field.decode().split(" ", 1)
            found[group][what] = int(n)
        all_groups = (GroupCredits(group, **sums) for group, sums in found.items())
        return sorted(all_groups, key=lambda one: (-one.credits, one.group))

    return ScriptCall(load("group_credits"), account, [], parse)


def set_group(
    account: str, name: str, max_concurrent: int | Keep | None = KEEP, paused: bool | None = None
) -> ScriptCall[Group]:
    """Change a group's settings; arguments and errors as for `RunQueue.set_group`."""
    wrong = []
    if not is_name(name):
        wrong.append(FieldError("group", f"expected {NAME_WORDS}, got {name!r}"))
    if isinstance(max_concurrent, int) and not 1 <= max_concurrent < 2**53:
        wrong.append(
            FieldError("max_concurrent", f"expected 1 or more, or none, got {max_concurrent}")
        )
    if wrong:
        raise InvalidGroup(wrong)
    cap = "" if max_concurrent is KEEP else int(max_concurrent or 0)
    pause = "" if paused is None else int(paused)
    return ScriptCall(
        load("set_group"),
        account,
        [name, cap, pause],
        lambda reply: _group(account, [name.encode(), *reply]),
    )


def change_words(max_concurrent: int | Keep | None = KEEP, paused: bool | None = None) -> str:
    """Return what is changed, in words; arguments as for `set_group`."""
    words = []
    if max_concurrent is None:
        words.append("no cap")
    elif max_concurrent is not KEEP:
        words.append(f"at most {max_concurrent:,} at once")
    if paused is not None:
        words.append("paused" if paused else "goes on")
    return ", ".join(words)


def group_names(account: str, most: int = MOST) -> ScriptCall[list[str]]:
    """Name the groups that have settings, and those that have ready jobs."""
    return ScriptCall(load("group_names"), account, [most], texts)


def read_groups(account: str, names: Sequence[str]) -> ScriptCall[list[Group]]:
    """Read groups as they are now, at most `A_CALL` of them."""

    def parse(reply: list[Any]) -> list[Group]:
        return [_group(account, row) for row in rows(reply, 0, 5)]

    return ScriptCall(load("list_groups"), account, names, parse)


def _group(account: str, row: Sequence[Any]) -> Group:
    name, cap, paused, live, ready = row
    return Group(name.decode(), account, int(cap) or None, bool(paused), int(live), int(ready))
