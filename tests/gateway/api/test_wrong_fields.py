"""A wrong parameter or field is named by the answer, and nothing is done."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import redis

from runqueue import RunQueue
from runqueue.ids import new_id
from runqueue.store.keys import ACCOUNTS
from tests.gateway.gating import gating
from tests.gateway.uploads import KIND

JOB = f"jobs/{'a' * 24}"
BATCH = f"batches/{'a' * 24}"
LINE = {"kind": "task", "body": {"prompt": "x"}}
LIMITS = "accounts/default/limits"


class Wrong(NamedTuple):
    """A request below /v1, and the fields that its answer names."""

    method: str
    path: str
    body: Any
    fields: list[str]


def _asked(query: str, *fields: str) -> Wrong:
    return Wrong("GET", query, None, [*fields])


def _put(path: str, body: Any, *fields: str) -> Wrong:
    return Wrong("PUT", path, body, [*fields])


def _sent(path: str, body: Any, *fields: str) -> Wrong:
    return Wrong("POST", path, body, [*fields])


def _uploaded(query: str, *fields: str) -> Wrong:
    return Wrong("POST", f"batches?{query}", b"not read", [*fields])


QUESTIONS = [
    _asked("jobs?state=lost", "state"),
    _asked("jobs?namespace=shop", "namespace"),
    _asked("jobs?custom_id=x&namespace=a%20b", "namespace"),
    _asked("jobs?custom_id=", "custom_id"),
    _asked("jobs?custom_id=x&cursor=scan-0", "cursor"),
    _asked("jobs?limit=0", "limit"),
    _asked("jobs?limit=1001", "limit"),
    _asked("jobs?limit=many", "limit"),
    _asked("jobs?cursor=x", "cursor"),
    _asked("jobs?account=acme", "account"),
    _asked("batches?status=lost", "status"),
    _asked("batches?limit=0", "limit"),
    _asked("batches?limit=1001", "limit"),
    _asked("batches?cursor=x", "cursor"),
    _asked("batches?account=acme", "account"),
    _asked("batches?account=", "account"),
    _asked("events?account=acme", "account"),
    _asked(f"jobs/{new_id('default')}?wait=-1", "wait"),
    _asked(f"jobs/{new_id('default')}?wait=61", "wait"),
    _asked(f"jobs/{new_id('default')}?wait=nan", "wait"),
    _asked(f"jobs/{new_id('default')}?result=x", "result"),
    _asked("results?since=tomorrow", "since"),
    _asked("results?until=2030-01-31T12:00", "until"),
    _asked("results?since=1h&until=2h", "until"),
    _asked("results?state=ready", "state"),
    _asked("results?after=nonsense", "after"),
    _asked("results?account=nobody", "account"),
]
SETTINGS = [
    _put("groups/shop-a", {"max_concurrent": 0}, "max_concurrent"),
    _put("groups/shop-a", {"max_concurrent": 2**60}, "max_concurrent"),
    _put("groups/shop-a", {"max_concurrent": "2"}, "max_concurrent"),
    _put("groups/shop-a", {"cap": 2}, "cap"),
    _put("groups/shop-a", b"[]", "body"),
    _put("groups/SHOP", {"paused": True}, "group"),
    _put("groups/shop-a?account=acme", {"paused": True}, "account"),
    _put("keys/site:a", {"max_concurrent": 0}, "max_concurrent"),
    _put("keys/site:a", {"max_concurrent": "2"}, "max_concurrent"),
    _put("keys/site:a", {"per_second": 0}, "per_second"),
    _put("keys/site:a", {"per_second": 1, "per_hour": 1}, "per_hour"),
    _put("keys/site:a", {"cap": 2}, "cap"),
    _put("keys/site", {"max_concurrent": 1}, "key"),
    _put("keys/site:*:a", {"max_concurrent": 1}, "key"),
    _put("keys/site:a?account=acme", {"max_concurrent": 1}, "account"),
    _put("budgets/account", {"steps": 0}, "steps"),
    _put("budgets/account", {"steps": "9"}, "steps"),
    _put("budgets/account", {}, "steps"),
    _put("budgets/account", {"steps": 9, "per": "week"}, "per"),
    _put("budgets/account", {"steps": 9, "timezone": "Mars/Base"}, "timezone"),
    _put("budgets/account", {"steps": 9, "timezone": "../../etc/passwd"}, "timezone"),
    _put("budgets/account", {"steps": 9, "strict": "yes"}, "strict"),
    _put("budgets/account", {"steps": 9, "money": 5}, "money"),
    _put("budgets/key:acme", {"steps": 9}, "scope"),
    _put("budgets/team:acme", {"steps": 9}, "scope"),
    Wrong("PATCH", LIMITS, {"webhooks_per_second": 3, "runs": 1}, ["runs"]),
    Wrong("PATCH", LIMITS, {"burst_size": 3, "concurrent_runs": -1}, ["concurrent_runs"]),
    Wrong("PATCH", LIMITS, {"burst_size": 3, "concurrent_runs": 1.5}, ["concurrent_runs"]),
    Wrong("PATCH", LIMITS, {"concurrent_runs": 3, "burst_size": "many"}, ["burst_size"]),
    Wrong("PATCH", LIMITS, {"concurrent_runs": 3, "burst_size": 10**9}, ["burst_size"]),
]
JOBS = [
    _sent("jobs", {**LINE, "account": "acme"}, "account"),
    _sent("jobs:bulk", [LINE, {**LINE, "account": "acme"}], "account"),
    _sent("jobs:bulk", b'[{"kind": "task", "body": {"prompt": "x"}}, nil]', "[1].line"),
]
UPLOADS = [
    _uploaded("account=A", "account"),
    _uploaded("account=acme", "account"),
    _uploaded("namespace=%20", "namespace"),
    _uploaded("name=%00", "name"),
    _uploaded("name=" + "x" * 257, "name"),
    _uploaded("skip_invalid=perhaps", "skip_invalid"),
    _uploaded("abort_at_failure_ratio=0&abort_after=0", "abort_at_failure_ratio", "abort_after"),
    _uploaded("abort_at_failure_ratio=1.1", "abort_at_failure_ratio"),
    _uploaded("abort_at_failure_ratio=nan", "abort_at_failure_ratio"),
    _uploaded("abort_at_failure_ratio=many", "abort_at_failure_ratio"),
    _uploaded("canary=0&canary_ratio=-0.1", "canary_ratio", "canary"),
    _uploaded("canary=1.5", "canary"),
    _uploaded("canary=", "canary"),
    _uploaded(f"canary={2**53}", "canary"),
    _uploaded("expires_after=0", "expires_after"),
    _uploaded("expires_after=inf", "expires_after"),
    _uploaded("callback_at=0.5", "callback_at"),
    _uploaded("callback_at=half", "callback_at.0"),
    _uploaded(
        "namespace=A&expires_after=1e99&callback_at=2",
        *("namespace", "expires_after", "callback_at", "callback_at"),
    ),
]
UNKNOWN = [
    ("GET", "jobs?state=failed&state=dead", "expected once"),
    ("GET", "jobs?limits=1", "unknown parameter, did you mean 'limit'?"),
    ("GET", "batches?state=completed", "unknown parameter, did you mean 'status'?"),
    ("GET", f"{JOB}?wiat=1", "unknown parameter, did you mean 'wait'?"),
    ("GET", "stats?account=default", "unknown parameter"),
    ("GET", f"{BATCH}/results?from=1", "unknown parameter"),
    ("POST", f"{BATCH}/cancel?force=1", "unknown parameter"),
    ("POST", "batches?canry=1", "unknown parameter, did you mean 'canary'?"),
    ("PUT", "groups/shop-a?acount=default", "unknown parameter, did you mean 'account'?"),
]


@pytest.mark.parametrize(
    "every", [QUESTIONS, SETTINGS, JOBS, UPLOADS], ids=["questions", "settings", "jobs", "uploads"]
)
async def test_what_is_wrong_is_named_and_nothing_is_done(
    queue: RunQueue, client: redis.Redis, redis_url: str, every: list[Wrong]
) -> None:
    client.sadd(ACCOUNTS, "default")

    async with gating(redis_url) as door:
        for wrong in every:
            kind = KIND if wrong.path.startswith("batches?") and wrong.body else {}
            answer = await door.ask(wrong.method, f"/v1/{wrong.path}", wrong.body, kind)
            assert answer.status == 422, wrong
            assert [fault["field"] for fault in answer.body["errors"]] == wrong.fields, wrong
            assert all(fault["message"] for fault in answer.body["errors"])
            assert "hunter2" not in str(answer.body)

    assert queue.stats()["default"].totals == {}
    assert queue.set_limits({}).live == {}
    assert (queue.groups(), queue.list_keys(), queue.list_budgets()) == ([], [], [])
    assert list(queue.list_batches().batches) == []
    assert queue.audit() == []


async def test_a_parameter_that_a_call_does_not_have_is_refused_by_name(redis_url: str) -> None:
    async with gating(redis_url) as door:
        for method, path, message in UNKNOWN:
            answer = await door.ask(method, f"/v1/{path}")
            name = path.partition("?")[2].partition("=")[0]
            said = [{"field": name, "message": message}]
            assert (answer.status, answer.body["errors"]) == (422, said), path
