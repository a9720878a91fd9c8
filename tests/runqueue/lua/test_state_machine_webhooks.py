"""The same life of an account, lived among webhooks: few rules, so that many of them meet."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from typing import Any

import pytest
import redis
from hypothesis import settings
from hypothesis.stateful import RULE_MARKER, run_state_machine_as_test

from tests.runqueue.lua.test_state_machine import Account

#: What can happen here; all else that an account does only where one of these needs it.
RULES = {
    *("claim_more", "run_some", "mark_unconfirmed", "tell_of_doubtful", "turn_receiver"),
    *("enqueue_awaited", "end_awaited", "record_webhook", "webhooks_of_all", "finish"),
    *("retry_run", "promote_due", "cancel", "give_up", "replay", "wait", "wait_long"),
    *("delivery_claim", "deliver_due", "record_delivery", "record_all", "finish_all"),
    *("deliver_again", "confirm_delivery", "heartbeat", "retire_all", "pack"),
}


def without_rule(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method, not called by itself any more."""

    def plain(*args: Any, **options: Any) -> Any:
        return method(*args, **options)

    return plain


@pytest.mark.timeout(3_600)
def test_webhooks_come_and_go_whatever_happens_to_their_jobs(client: redis.Redis) -> None:
    """12 lives; `make check` has 60 (HYPOTHESIS_PROFILE=ci), HYPOTHESIS_PROFILE=long 2,000."""
    rules = {name for name, f in inspect.getmembers(Account) if hasattr(f, RULE_MARKER)}
    assert rules >= RULES
    hidden = {name: without_rule(getattr(Account, name)) for name in rules - RULES}
    machine = type("AmongWebhooks", (Account,), hidden | {"client": client})
    profile = os.environ.get("HYPOTHESIS_PROFILE", "quick")
    run_state_machine_as_test(machine, settings=settings.get_profile(profile))
