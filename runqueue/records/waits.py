"""What a job, a batch or an account waits for: the reasons of `lua/lib/jobs/waits.lua`, in words.

The page, `doctor`, every command, the HTTP API and `RemoteQueue` show these and no others.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from runqueue.ids import DEFAULT
from runqueue.records.as_json import json_object
from runqueue.records.forecast import LONGEST_HOLD

#: What holds a batch, and what ends that; `{}` is its id.
_BATCH: Final = {
    "open": "is not uploaded in full yet",
    "paused": "is paused until `runqueue batch resume {}`",
    "canary": "waits for its first jobs, or for `runqueue batch resume {}`",
    "aborted": "was aborted by its rules, until `runqueue batch resume {}`",
    "expired": "is expired, until `runqueue batch resume {}`",
}

#: Why Skyvern keeps runs queued.
SHARED_PLAN: Final = "the plan is shared with runs from Skyvern's UI, of schedules and of others"


class Wait(NamedTuple):
    """One reason why something is not submitted now.

    Args:
        kind: as `waits.lua` names it: `account_paused`, `budget`, `key_full` …
        name: of the group, the batch or the key; whose budget it is (`group:acme`); the kind of
            the hold.
        until: when it ends at the latest; None = nobody knows, or a person ends it.
        needs_person: whether it lasts until a person does something.
        reason: why, as it was given: of a pause or a hold.
        words: all of it in words.
    """

    kind: str
    name: str = ""
    until: datetime | None = None
    needs_person: bool = False
    reason: str = ""
    words: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return json_object(self)


def utc(moment: datetime) -> str:
    """Return a time with its date and zone: 2026-11-30 17:20:05 UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def in_words(waits: Sequence[Wait]) -> str:
    """Return the reasons in one line; '' = there is none."""
    return "; ".join(wait.words for wait in waits)


def read_waits(account: str, reply: Any, now_us: int) -> tuple[Wait, ...]:
    """Return the reasons that a script gives, in the order in which they matter.

    First what a person has to end, then what has a known end, the latest end first, then what
    ends as other jobs do.
    """
    found = [_read(account, [_text(value) for value in row], now_us) for row in reply]
    return tuple(sorted(found, key=_rank))


def _rank(wait: Wait) -> tuple[bool, bool, float]:
    return not wait.needs_person, wait.until is None, -wait.until.timestamp() if wait.until else 0


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _read(account: str, row: list[str], now_us: int) -> Wait:
    kind, name, until_us, *more = row
    until = None
    if until_us and (float(until_us) - now_us) / 1e6 <= LONGEST_HOLD:
        until = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(float(until_us)))
    wait = Wait(kind, name, until)
    return _WORDS[kind](account, wait, more)


def _paused(account: str, wait: Wait, more: list[str]) -> Wait:
    why = f": {more[0]}" if more[0] else ""
    return wait._replace(
        needs_person=True,
        reason=more[0],
        words=f"account {account} is paused until `{_resume(account)}`{why}",
    )


def _held(account: str, wait: Wait, more: list[str]) -> Wait:
    until = f"until {utc(wait.until)}" if wait.until else f"until `{_resume(account)}`"
    return wait._replace(
        needs_person=wait.until is None,
        reason=more[0],
        words=f"account {account} is held {until}: {more[0] or 'no reason is known'}",
    )


def _no_worker(account: str, wait: Wait, _: list[str]) -> Wait:
    words = f"no worker process serves account {account}: start one"
    return wait._replace(needs_person=True, words=words)


def _budget(_: str, wait: Wait, more: list[str]) -> Wait:
    scope, amount, unit, per, spent, committed, never, need = more
    kind, _colon, name = wait.name.partition(":")
    whose = f"{kind} {name}" if name else f"the {kind}"
    if wait.name != scope:
        whose += f" ({scope})"
    if never:
        why = "it has no max_steps, and would need one" if never == "no max_steps" else "max_steps"
        words = f"the strict budget of {whose} can never fit it: {why} of {amount} at most"
        return wait._replace(until=None, needs_person=True, words=words)
    is_spent = float(spent) >= float(amount)
    of = f"of {int(amount):,} {unit} {'in all' if per == 'total' else f'a {per}'}"
    if is_spent:
        state = f"is spent{f' until {utc(wait.until)}' if wait.until else ''}: {int(spent):,} {of}"
    else:
        latest = f" until {utc(wait.until)} at the latest" if wait.until else ""
        room = f"no room for {int(need):,} steps" if need else "no room"
        state = (
            f"has {room}{latest}: {int(spent):,} spent and {int(committed):,} committed to live"
            f" runs, {of}"
        )
    needs_person = wait.until is None and (is_spent or int(committed) == 0)
    also = "; set a larger one, or clear it" if needs_person else ""
    return wait._replace(needs_person=needs_person, words=f"the budget of {whose} {state}{also}")


def _batch(_: str, wait: Wait, more: list[str]) -> Wait:
    held = more[0]
    words = f"batch {wait.name} {_BATCH.get(held, f'is {held}').format(wait.name)}"
    return wait._replace(needs_person=held not in {"open", "canary"}, reason=held, words=words)


def _group_paused(account: str, wait: Wait, _: list[str]) -> Wait:
    if wait.name == "?":
        words = "more groups are paused than can be looked at, perhaps some of its own"
    else:
        where = "" if account == DEFAULT else f" --account {account}"
        resume = f"`runqueue group set {wait.name}{where} --resume`"
        words = f"group {wait.name} is paused until {resume}"
    return wait._replace(needs_person=True, words=words)


def _group_full(_: str, wait: Wait, more: list[str]) -> Wait:
    return wait._replace(words=f"group {wait.name} is at its limit of {more[0]} at a time")


def _key_full(_: str, wait: Wait, more: list[str]) -> Wait:
    return wait._replace(words=f"key {wait.name} is at its limit of {more[0]} at a time")


def _key_rate(_: str, wait: Wait, more: list[str]) -> Wait:
    seconds = float(more[0]) / 1e6
    return wait._replace(words=f"key {wait.name} lets one begin every {seconds:g} s{_next(wait)}")


def _key_occupied(_: str, wait: Wait, _more: list[str]) -> Wait:
    return wait._replace(
        words=f"key {wait.name} is occupied at Skyvern{_next(wait, 'tried again')}"
    )


def _key_line(_: str, wait: Wait, _more: list[str]) -> Wait:
    return wait._replace(words=f"it is in line at key {wait.name}")


def _slots(account: str, wait: Wait, more: list[str]) -> Wait:
    slots, others = int(more[0]), int(more[1])
    words = f"all {slots:,} slots of account {account} are taken"
    if others:
        words += f", {others:,} run by others"
    return wait._replace(words=words)


def _rate(account: str, wait: Wait, more: list[str]) -> Wait:
    words = f"account {account} is at its rate of {float(more[0]):.3g} submissions a second"
    return wait._replace(words=words)


def _scheduled(_: str, wait: Wait, _more: list[str]) -> Wait:
    when = f"until {utc(wait.until)}" if wait.until else "more than a year ahead"
    return wait._replace(words=f"scheduled {when}")


def _queued(_: str, wait: Wait, more: list[str]) -> Wait:
    started, seen = (datetime.fromtimestamp(float(us) / 1e6, UTC) for us in more)
    words = f"its run, accepted {utc(started)}, was still `queued` at Skyvern {utc(seen)}"
    return wait._replace(words=f"{words}: {SHARED_PLAN}")


def _search(_: str, wait: Wait, _more: list[str]) -> Wait:
    then = ", and a person decides if there is none" if wait.name == "hold" else ""
    words = f"its answer was lost: its run is searched for{_next(wait)}{then}"
    return wait._replace(until=None, needs_person=wait.name == "hold", words=words)


def _next(wait: Wait, what: str = "next") -> str:
    return f", {what} {utc(wait.until)}" if wait.until else ""


def _resume(account: str) -> str:
    return "runqueue resume" if account == DEFAULT else f"runqueue resume {account}"


_WORDS: Final[dict[str, Callable[[str, Wait, list[str]], Wait]]] = {
    "account_paused": _paused,
    "account_held": _held,
    "no_worker": _no_worker,
    "budget": _budget,
    "batch": _batch,
    "group_paused": _group_paused,
    "group_full": _group_full,
    "key_full": _key_full,
    "key_rate": _key_rate,
    "key_occupied": _key_occupied,
    "key_line": _key_line,
    "slots": _slots,
    "rate": _rate,
    "scheduled": _scheduled,
    "search": _search,
    "queued": _queued,
}
