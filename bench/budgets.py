"""What scripts cost that have many jobs, runs or budgets before them."""

from collections.abc import Iterator
from typing import Any, Final

from bench.groups import ACCOUNT, Cost, MeasuredCalls, started_server
from runqueue.producer.chunks import packets
from runqueue.records.claim_items import RunAccepted
from runqueue.store import budgets, worker_calls
from runqueue.store.budgets import Budget

#: Jobs that a strict budget has too few steps for, runs that are live when one is set, and budgets.
TOO_LARGE, LIVE, BUDGETS = 5_000, 1_000, 900
_LEASE_US: Final = 15_000_000
_A_CLAIM: Final = 100


def measure() -> dict[str, Cost]:
    """Put jobs aside and bring them back, set a budget, and list many, each in its own server."""
    costs: dict[str, Cost] = {}
    for shape in (_aside, _live, _many):
        with started_server() as client:
            seen = MeasuredCalls(client)
            shape(seen)
            costs |= seen.costs
    return costs


def _aside(seen: MeasuredCalls) -> None:
    _enqueue(seen, _tasks(TOO_LARGE, 50))
    seen.run("set a budget", _set("account", Budget(49, is_strict=True)))
    _claim(seen, f"claim that puts {TOO_LARGE:,} jobs aside", TOO_LARGE // 60, 500)
    seen.run("clear a budget", _set("account", None))
    _claim(seen, "claim that brings them back", TOO_LARGE // 50 + 1)


def _live(seen: MeasuredCalls) -> None:
    _enqueue(seen, _tasks(LIVE, 20))
    for items in _claim(seen, "claim a hundred", LIVE // _A_CLAIM):
        runs = [RunAccepted(i.job_id, i.attempt, f"r{i.job_id}", "created", 1) for i in items]
        begin = worker_calls.mark_running(ACCOUNT, runs)
        seen.run("begin", begin, measured=False)
    what = f"set a strict budget while {LIVE:,} runs are live"
    seen.run(what, _set("account", Budget(100_000, is_strict=True)))


def _many(seen: MeasuredCalls) -> None:
    scopes = [f"key:customer:{number}" for number in range(BUDGETS)]
    for scope in scopes:
        budget = Budget(500, "day", "Europe/Berlin", is_strict=True)
        seen.run("set one of many budgets", _set(scope, budget), measured=False)
    for start in range(0, len(scopes), budgets.A_CALL):
        page = budgets.read_budgets(ACCOUNT, scopes[start : start + budgets.A_CALL])
        seen.run(f"list {BUDGETS} budgets, a call", page)


def _set(scope: str, budget: Budget | None) -> Any:
    return budgets.set_budget(ACCOUNT, scope, budget)


def _tasks(count: int, max_steps: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        body = {"prompt": "Read it.", "url": "https://shop.example", "max_steps": max_steps}
        group = f"group-{number % 3}"
        yield {"custom_id": f"row-{number}", "kind": "task", "body": body, "group": group}


def _enqueue(seen: MeasuredCalls, lines: Iterator[dict[str, Any]]) -> None:
    for packet in packets(lines):
        seen.run("enqueue", packet.call(None), measured=False)


def _claim(seen: MeasuredCalls, what: str, times: int, want: int = _A_CLAIM) -> list[list[Any]]:
    """Claim so many times, a while after what waits for a budget is checked again."""
    seen.now += 6_000_000
    taken = []
    for _ in range(times):
        seen.now += 100_000
        beat = worker_calls.heartbeat(ACCOUNT, "p1", _LEASE_US, 0, 0, first=True)
        seen.run("heartbeat", beat, measured=False)
        call = worker_calls.claim(ACCOUNT, "p1", str(seen.now), want, 0)
        taken.append(seen.run(what, call).items)
    return taken
