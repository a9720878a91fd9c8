"""The ledger of a day, by real processes: our runs, lost answers among them, and others' runs.

On a real server and on the simulator; `-k 'ledger and simulated'` selects one.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lab.waiting import until
from tests.acceptance.factory import Factory
from tests.real.lossy import Loss, LossyProxy
from tests.real.request_kinds import HOST
from tests.real.simulated import SimulatedTarget, simulated_target
from tests.real.stack import stack
from tests.real.target import Target

pytestmark = [pytest.mark.real, pytest.mark.timeout(2400)]

#: Jobs of each kind: 200 in all.
TASKS, TASKS_2, WORKFLOWS = 60, 20, 120
#: Every so many-th answer of a task of engine 1.0 or a workflow is lost, in turn in two ways.
LOST_EVERY, WAYS = 6, (Loss.CUT, Loss.ERROR)
_COMMAND = "import typer; from worker.ledger.command import ledger; typer.run(ledger)"


@pytest.fixture(params=["real", "simulated"])
def server(request: pytest.FixtureRequest) -> Iterator[Target]:
    if request.param == "real":
        yield request.getfixturevalue("target")
        return
    with simulated_target("--duration", "2") as target:
        yield target


def _ask(target: Target, parts: Factory, *arguments: str) -> tuple[int, str]:
    environ = {"RUNQUEUE_REDIS_URL": parts.redis_url, "RUNQUEUE_MAX_REQUESTS_PER_SECOND": "50"}
    environ |= {"SKYVERN_API_KEY": target.api_key, "SKYVERN_BASE_URL": target.base_url}
    done = subprocess.run(
        [sys.executable, "-c", _COMMAND, *arguments],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


def _enqueue(target: Target, parts: Factory, proxy: LossyProxy) -> None:
    workflow = target.workflow("ledger")
    task = {"url": f"{HOST}/", "engine": "skyvern-1.0"}
    bodies: list[tuple[str, dict[str, Any]]] = [("task", task) for _ in range(TASKS)]
    bodies += [("workflow", {"workflow_id": workflow}) for _ in range(WORKFLOWS)]
    bodies += [("task", {"url": f"{HOST}/", "engine": "skyvern-2.0"}) for _ in range(TASKS_2)]
    lines = []
    for number, (kind, fields) in enumerate(bodies):
        key = f"rqt-{number}-z"
        body = {"prompt": key, **fields} if kind == "task" else {"title": key, **fields}
        lines.append({"custom_id": key, "kind": kind, "body": body})
        if number < TASKS + WORKFLOWS and number % LOST_EVERY == 0:
            proxy.announce(key, [WAYS[number // LOST_EVERY % len(WAYS)]])
    parts.queue.enqueue_many(lines)


def _others(target: Target) -> None:
    """Make ten runs: three by API, three as the server's UI does, three tasks, one of them 2.0."""
    workflow = target.workflow("others")
    for headers in ({}, {}, {}, *({"x-user-agent": "skyvern-ui"},) * 3):
        fields = {"workflow_id": workflow}
        target.post("/v1/run/workflows", fields, headers).raise_for_status()
    for engine in ("skyvern-1.0", "skyvern-1.0", "skyvern-1.0", "skyvern-2.0"):
        task = {"prompt": "Read it.", "url": f"{HOST}/", "engine": engine}
        target.post("/v1/run/tasks", task).raise_for_status()


def test_the_ledger_of_a_day_with_lost_answers_and_runs_of_others_is_exact(
    server: Target, tmp_path: Path
) -> None:
    since = (datetime.now(UTC) - timedelta(seconds=2)).isoformat()
    with stack(server, tmp_path) as (parts, proxy):
        _enqueue(server, parts, proxy)
        parts.start_worker()
        parts.start_worker()
        _others(server)
        jobs = TASKS + TASKS_2 + WORKFLOWS
        until(lambda: parts.ended() == jobs, 1500, "every job to end")
        lost = sum(one.loss is not Loss.NONE for one in proxy.submissions)
        assert lost == (TASKS + WORKFLOWS) / LOST_EVERY
        runs = {one.run_id: one.key for one in proxy.submissions if one.run_id}
        code, printed = _ask(server, parts, "--since", since, "--json")
        found = json.loads(printed)
        assert (code, found["missing"]) == (0, [])
        assert found["both"]["runs"] == len(runs) == jobs
        assert found["both"]["runs_with_credits"] == WORKFLOWS + TASKS_2
        others = {name: one["runs"] for name, one in found["others"].items()}
        assert others == {"api": 4, "manual": 3, "not shown": 3}
        print(_ask(server, parts, "--since", since)[1])
        if server.server is None and not isinstance(server, SimulatedTarget):
            return  # a server that we may not look into

        deleted = next(run_id for run_id in runs if run_id.startswith("wr_"))
        server.forget(deleted)
        code, printed = _ask(server, parts, "--since", since)
        print(printed)
        assert code == 1
        assert f"ours, and Skyvern has them: {jobs - 1} runs" in printed
        assert "ours, and missing at Skyvern: 1 run\n" in printed
        assert f"  {deleted}  job " in printed
