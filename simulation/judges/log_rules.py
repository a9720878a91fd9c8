"""Judges lines of the product's log that no user sees, but that only certain faults explain."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from simulation.plan import ANSWERS_NO_CALL, FAULTS
from simulation.world import World

#: Log events that only a defect writes.
_DEFECT_EVENTS = {
    *("item_failed", "record_refused", "record_lost", "run_is_another_jobs"),
    *("answer_of_another_request", "stored_request_unreadable", "job_quarantined"),
}
#: Errors in such events that Redis faults explain: the lease brings the item back.
_REDIS_ERRORS = {"ConnectionError", "TimeoutError", "ResponseError", "ReadOnlyError"}
#: What follows from answers that were mixed up.
_MIXED_UP = {"answer_of_another_request", "run_is_another_jobs"}
#: Seconds each way up to which a slow Redis costs no process its lease, and no claim its answer.
_SLOW_SECONDS, _SLOW_CLAIM_SECONDS = 1.9, 0.9


class LogRules:
    """Judges log lines by the faults that were met before.

    Args:
        world: its plan, its faults and its ledger.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._rules: dict[str, Callable[[Mapping[str, Any]], bool]] = {
            "account_stopped": self._left_nothing,
            "claims_taken_over": lambda _: self._may_lose_its_claims(),
            "lease_lost": lambda _: self._may_lose_its_lease(),
            "list_not_supported": lambda _: self._was("another", within=70),
            "cancel_abandoned": lambda _: self._may_give_cancels_up(),
            "submission_refused": self._may_refuse,
        }

    def judge(self, event: Mapping[str, Any]) -> None:
        """Judge one line."""
        name, world = event["event"], self._world
        if event.get("account", "default") != "default":
            return
        rule = self._rules.get(name)
        if rule is not None and not rule(event):
            world.ledger.fail(f"no fault explains the log: {dict(event)}")
        if name not in _DEFECT_EVENTS or event.get("error") in _REDIS_ERRORS:
            return
        # Answers stay mixed up until the client drops its connections.
        if name in _MIXED_UP and self._was("answers are mixed up", within=math.inf):
            return
        world.ledger.fail(f"the log says: {event}")

    def _was(self, *kinds: str, within: float) -> bool:
        """Say whether a fault whose kind begins so was met in the last seconds."""
        now = self._world.loop.time()
        return self._world.fault_times.hindered(now - within, now, *kinds)

    def _left_nothing(self, event: Mapping[str, Any]) -> bool:
        """A process that stops gracefully gives back, or records, each of its claims."""
        return not event["claims_left"] or self._met_redis_trouble(_SLOW_CLAIM_SECONDS, within=60)

    def _may_lose_its_claims(self) -> bool:
        """Some jobs kill the workers that submit them."""
        was_killed = any(self._world.conduct.deaths.values())
        return was_killed or self._was("redis", "a worker", within=200)

    def _may_lose_its_lease(self) -> bool:
        """A lease outlives a Redis that is a little slow, not a step that no worker saw."""
        now, server = self._world.loop.time(), self._world.server
        return self._met_redis_trouble(_SLOW_SECONDS, within=30) or server.unwitnessed(now - 60) > 0

    def _met_redis_trouble(self, slowness: float, within: float) -> bool:
        """Say whether a worker could not call Redis, or waited longer than so many seconds."""
        kinds = [kind for kind in FAULTS if kind.startswith(("redis", "a worker is frozen"))]
        if 0 < self._world.server.slowness <= slowness:
            kinds.remove("redis is slow")
        return self._was(*kinds, within=within)

    def _may_give_cancels_up(self) -> bool:
        """Some plans have runs that no cancel reaches."""
        plan = self._world.plan
        return plan.refuses_cancels or any(one.run == ANSWERS_NO_CALL for one in plan.requests)

    def _may_refuse(self, event: Mapping[str, Any]) -> bool:
        """No request is at fault, but one may seem so whose key was refused for a moment."""
        return event["status"] == 403 and not self._world.skyvern.faults.no_key
