"""The same life of an account, lived among batches and groups: few rules, so that many meet."""

from __future__ import annotations

import inspect
import os

import pytest
import redis
from hypothesis import settings
from hypothesis.stateful import RULE_MARKER, run_state_machine_as_test

from tests.runqueue.lua.test_state_machine import Account
from tests.runqueue.lua.test_state_machine_webhooks import without_rule

#: What can happen here; all else that an account does only where one of these needs it.
RULES = {
    *("open_batch", "enqueue", "enqueue_many", "seal_batch", "cancel_batch", "discard_batch"),
    *("pause_batch", "resume_batch", "claim_and_resume", "retry_batch", "replay", "cancel"),
    *("set_group", "squeeze_group", "claim_more", "run_some", "finish", "finish_all"),
    *("retry_run", "promote_due", "mark_dead", "give_back", "mark_unconfirmed", "die"),
    *("hold_expired", "callback_claim", "record_callback"),
    *("sweep_canceled", "expire_batches", "retire_all", "wait", "heartbeat", "claim_suspect"),
}


@pytest.mark.timeout(3_600)
def test_batches_are_held_and_go_on_whatever_happens_to_their_jobs(client: redis.Redis) -> None:
    """12 lives; `make check` has 60 (HYPOTHESIS_PROFILE=ci), HYPOTHESIS_PROFILE=long 2,000."""
    rules = {name for name, f in inspect.getmembers(Account) if hasattr(f, RULE_MARKER)}
    assert rules >= RULES
    hidden = {name: without_rule(getattr(Account, name)) for name in rules - RULES}
    machine = type("AmongBatches", (Account,), hidden | {"client": client})
    profile = os.environ.get("HYPOTHESIS_PROFILE", "quick")
    run_state_machine_as_test(machine, settings=settings.get_profile(profile))
