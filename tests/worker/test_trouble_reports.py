"""What people read of a worker's trouble: in its log, and as the reason of a hold."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import pytest

from api_client import Submission, SubmissionClass
from runqueue import TaskRunRequest
from runqueue.store.history import read_history
from tests.api_client.rawserver import port_nobody_listens_on
from tests.worker.working import KEYS, Bench, Work
from worker.stages.submit import _words

Events = list[MutableMapping[str, Any]]
SECRET = "sk-live-0123456789"
MADE: dict[str, Any] = {"close": True, "committed": True}


def told(events: Events, name: str) -> Events:
    """The events of a name."""
    return [event for event in events if event["event"] == name]


async def lose(bench: Bench, count: int) -> None:
    """Submit jobs whose answers are lost."""
    await bench.api.fault(MADE, match={"method": "POST"}, times=count)
    for _ in range(count):
        bench.queue.enqueue(TaskRunRequest(prompt="p", engine="skyvern-1.0"))
    await bench.one_pass("submit")


async def look(bench: Bench) -> None:
    """Have every unconfirmed job looked for, now."""
    members: Any = bench.client.zrange(f"{KEYS.prefix}reconcile", 0, -1)
    bench.client.zadd(f"{KEYS.prefix}reconcile", dict.fromkeys(members, 0))
    await bench.one_pass("reconcile", want=1)


async def test_a_search_whose_lists_fail_is_logged_once_a_pass_without_the_server_s_words(
    work: Work, logged: Events
) -> None:
    async with work() as bench:
        await lose(bench, 3)
        fault = {"status": 500, "body": {"error": SECRET}}
        await bench.api.fault(fault, match={"route": "list_runs"})

        await look(bench)
        await look(bench)

    expected = {"why": "trouble", "status": 500, "account": "default", "log_level": "warning"}
    assert told(logged, "run_list_failed") == [{**expected, "event": "run_list_failed"}] * 2
    assert SECRET not in str(logged)


@pytest.mark.parametrize("simulator", [{}, {"list_supported": False}], ids=["a list", "no list"])
async def test_a_list_that_comes_or_that_the_server_has_not_is_no_failure(
    work: Work, logged: Events, simulator: dict[str, Any]
) -> None:
    async with work(simulator=simulator) as bench:
        await lose(bench, 1)

        await look(bench)

    assert told(logged, "run_list_failed") == []


async def test_a_submission_that_was_not_sent_is_logged_with_what_the_timeline_says(
    work: Work, logged: Events
) -> None:
    with port_nobody_listens_on() as port:
        url = f"http://127.0.0.1:{port}"
        async with work(base_url=url) as bench:
            (job,) = bench.enqueue()
            await bench.one_pass("submit")
            timeline = bench.queue.send(read_history("default", job))

    (event,) = told(logged, "submission_returned")
    assert (event["why"], event["status"]) == ("not_sent", None)
    assert f"({url})" in event["cause"]
    assert event["cause"] in str(timeline)


@pytest.mark.parametrize(
    ("account", "status", "words"),
    [
        ("default", 401, "HTTP 401 (check SKYVERN_API_KEY): no"),
        ("default", 404, "HTTP 404 (check SKYVERN_BASE_URL): no"),
        ("acme", 403, "HTTP 403 (check RUNQUEUE_ACCOUNTS__ACME__API_KEY): no"),
        ("acme", 404, "HTTP 404 (check RUNQUEUE_ACCOUNTS__ACME__BASE_URL): no"),
        ("default", 402, "HTTP 402: no"),
        ("default", None, "no"),
    ],
)
def test_a_hold_s_reason_names_the_setting_to_look_at(
    account: str, status: int | None, words: str
) -> None:
    outcome = Submission(SubmissionClass.ACCOUNT, detail="no", status_code=status)

    assert _words(account, outcome) == words
