"""Shrinking a plan that fails: what it does not take to fail is left out, by delta debugging.

Source: A. Zeller, R. Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from simulation.plan import Plan
from simulation.runs import simulate

T = TypeVar("T")


def shrunk(plan: Plan) -> str:
    """Return the shortest plan found that fails as the given one does, as text.

    Args:
        plan: one that fails.
    """
    kind = _kind(plan)
    if kind is None:
        return f"seed {plan.seed} does not fail"
    faults = _least(plan.faults, lambda some: _kind(plan.with_faults(tuple(some))) == kind)
    plan = plan.with_faults(tuple(faults))
    requests = _least(plan.requests, lambda some: _kind(plan.with_requests(tuple(some))) == kind)
    plan = plan.with_requests(tuple(requests))
    for smaller in (replace(plan, workers=1), replace(plan, gateways=0), replace(plan, bad=0.0)):
        if _kind(smaller) == kind:
            plan = smaller
    wrong = simulate(plan).wrong
    return "\n".join(
        [
            (
                f"seed {plan.seed}: {plan.workers} workers, {plan.gateways} gateways,"
                f" {plan.max_concurrent_runs} runs at once,"
                f" {plan.max_dispatches_per_second} submissions and"
                f" {plan.max_requests_per_second} calls a second, runs of {plan.run_seconds} s"
            ),
            *(f"  {request}" for request in plan.requests),
            *(f"  {fault}" for fault in plan.faults),
            *(f"  does not hold: {words}" for words in wrong[:5]),
        ]
    )


def _kind(plan: Plan) -> str | None:
    """Return which invariant fails first, None if none does."""
    wrong = simulate(plan).wrong
    return wrong[0].partition(": ")[2].partition(":")[0] if wrong else None


def _least(parts: Sequence[T], fails: Callable[[Sequence[T]], bool]) -> Sequence[T]:
    """Return parts without which nothing fails, as few as are found."""
    pieces = 2
    while len(parts) >= 1:
        size = max(1, len(parts) // pieces)
        for start in range(0, len(parts), size):
            rest = [*parts[:start], *parts[start + size :]]
            if fails(rest):
                parts, pieces = rest, max(pieces - 1, 2)
                break
        else:
            if size == 1:
                break
            pieces = min(len(parts), pieces * 2)
    return parts
