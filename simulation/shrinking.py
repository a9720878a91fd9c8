"""Shrinking a plan that fails: what the failure does not need is removed, by delta debugging.

Source: A. Zeller, R. Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from simulation.plan import SimulationPlan
from simulation.runs import simulate

T = TypeVar("T")


def shrink_plan(plan: SimulationPlan) -> str:
    """Return the shortest plan found that fails as the given one does, as text.

    Args:
        plan: one that fails.
    """
    violation = _first_violation(plan)
    if violation is None:
        return f"seed {plan.seed} does not fail"
    faults = minimize(
        plan.faults, lambda some: _first_violation(plan.with_faults(tuple(some))) == violation
    )
    plan = plan.with_faults(tuple(faults))
    requests = minimize(
        plan.requests, lambda some: _first_violation(plan.with_requests(tuple(some))) == violation
    )
    plan = plan.with_requests(tuple(requests))
    for smaller in (
        replace(plan, workers=1),
        replace(plan, gateways=0),
        replace(plan, bad_run_share=0.0),
    ):
        if _first_violation(smaller) == violation:
            plan = smaller
    violations = simulate(plan).violations
    return "\n".join(
        [
            (
                f"seed {plan.seed}: {plan.workers} workers, {plan.gateways} gateways,"
                f" {plan.max_concurrent_runs} runs at once,"
                f" {plan.max_submissions_per_second} submissions and"
                f" {plan.max_requests_per_second} calls a second, runs of {plan.run_seconds} s"
            ),
            *(f"  {request}" for request in plan.requests),
            *(f"  {fault}" for fault in plan.faults),
            *(f"  does not hold: {text}" for text in violations[:5]),
        ]
    )


def _first_violation(plan: SimulationPlan) -> str | None:
    """Return which invariant fails first, None if none does."""
    violations = simulate(plan).violations
    return violations[0].partition(": ")[2].partition(":")[0] if violations else None


def minimize(parts: Sequence[T], fails: Callable[[Sequence[T]], bool]) -> Sequence[T]:
    """Return the fewest parts found that still fail.

    Args:
        parts: all of them, which fail.
        fails: whether some of them fail.
    """
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
