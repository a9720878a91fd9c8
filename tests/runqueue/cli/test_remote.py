"""Commands over HTTP: who may, and what goes wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from runqueue.embedded.secret_files import TOKEN_FILE
from tests.either import TOKEN
from tests.gateway.test_process import process, url_of
from tests.runqueue.cli.commanding import Desk, batch_of, counts, line, lines, ready
from tests.runqueue.cli.exporting import command
from tests.runqueue.cli.gateways import READER, by_http


def test_a_job_is_shown_by_its_id_and_by_its_name(desk: Desk, remote: Desk) -> None:
    (job_id,) = ready(desk, line("order-1"))
    desk.end(desk.claim())
    assert remote.json("status", "order-1") == remote.json("status", job_id)
    assert remote.json("status", job_id) == desk.json("status", job_id)
    assert "state: completed" in remote.run("status", job_id).stdout


def test_figures_are_the_same(desk: Desk, remote: Desk) -> None:
    ready(desk, *lines(3))
    here, there = remote.json("stats")["default"], desk.json("stats")["default"]
    assert here["states"] == there["states"]
    assert "limits  0 runs, no cap" in remote.run("stats").stdout


def test_jobs_and_batches_are_canceled_by_name(desk: Desk, remote: Desk) -> None:
    ids = ready(desk, *lines(3))
    assert remote.json("cancel", ids[0])["state"] == "canceled"
    jobs = desk.claim()
    desk.end(jobs[:1])
    assert remote.json("cancel", "order-1", "order-2") == counts(0, 1, 1)
    batch = batch_of(desk, line("a"), line("b"))
    assert remote.json("cancel", batch) == {
        "batch": batch,
        "jobs": 2,
        "cancel_requested": True,
        **counts(2),
    }
    assert remote.run("cancel", "nonsense").exit_code == 3


def test_jobs_are_canceled_by_filter(desk: Desk, remote: Desk) -> None:
    ready(desk, line("a", group="one"), line("b", group="one"), line("c", group="two"))
    assert remote.run("cancel", "--group", "one", "--yes").stdout.startswith("2 canceled at once")
    assert desk.states() == {"canceled": 2, "ready": 1}
    batch = batch_of(desk, *lines(3))
    assert remote.json("cancel", "--batch", batch, "--yes") == counts(3)


def test_who_may_only_look_is_told(desk: Desk, gateway_url: str) -> None:
    batch = batch_of(desk, line("a"))
    reader = by_http(desk, gateway_url, READER)
    assert reader.run("batch", "show", batch).exit_code == 0
    result = reader.run("batch", "pause", batch)
    assert (result.exit_code, result.stdout) == (4, "")
    assert "reader has not the scope operate" in result.stderr
    assert READER not in result.stderr


@pytest.mark.parametrize("token", ["", "unknown-token-0123"])
def test_who_is_not_known_is_told_what_to_set(desk: Desk, gateway_url: str, token: str) -> None:
    result = by_http(desk, gateway_url, token).run("stats")
    assert result.exit_code == 4
    assert "set RUNQUEUE_TOKEN" in result.stderr
    assert not token or token not in result.stderr


def test_the_url_can_be_given_with_the_command(desk: Desk, gateway_url: str) -> None:
    desk.environ["RUNQUEUE_TOKEN"] = TOKEN
    assert desk.run("stats", "--url", gateway_url).exit_code == 0
    result = desk.run("stats", "--url", "http://queue.example.com")
    assert result.exit_code == 2
    assert "--url: expected https" in result.stderr
    assert TOKEN not in result.stderr


def test_a_gateway_on_this_machine_is_asked_with_the_token_that_it_made(
    desk: Desk, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with process(tmp_path, RUNQUEUE_REDIS_URL=redis_url) as started:
        remote = by_http(desk, url_of(started), token="")
        assert remote.run("stats").exit_code == 0

        secret = TOKEN_FILE.read_text().strip()
        TOKEN_FILE.write_text("x" * len(secret))
        result = remote.run("stats")
    assert (result.exit_code, str(TOKEN_FILE) in result.stderr) == (4, True)
    assert secret not in result.stderr


def test_a_gateway_that_is_none_is_told(desk: Desk) -> None:
    result = by_http(desk, "http://127.0.0.1:9").run("stats")
    assert result.exit_code == 4
    assert "gateway at http://127.0.0.1:9: cannot be reached" in result.stderr


def test_url_and_token_are_read_from_a_file(desk: Desk, gateway_url: str) -> None:
    ready(desk, *lines(2))
    (desk.folder / ".env").write_text(f"RUNQUEUE_URL={gateway_url}\nRUNQUEUE_TOKEN={TOKEN}\n")
    process = command(desk, "stats", "--json")
    said, _ = process.communicate(timeout=60)
    assert json.loads(said)["default"]["states"]["ready"] == 2


def test_commands_for_redis_load_no_http_client(tmp_path: Path) -> None:
    code = "import sys, runqueue.cli.app; print('httpx' in sys.modules, 'pyarrow' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "False False\n"
