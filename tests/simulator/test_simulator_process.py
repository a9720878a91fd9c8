from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def started(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start the simulator as a process of its own; gives it and its base URL."""
    command = [sys.executable, "-m", "simulator", "--port", "0", *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("simulator: http://127.0.0.1:"), line
            yield process, line.removeprefix("simulator: ").strip()
        finally:
            process.kill()


def post(url: str, body: object) -> object:
    headers = {"x-api-key": "other", "content-type": "application/json"}
    request = urllib.request.Request(
        url, data=json.dumps(body).encode(), headers=headers, method="POST"
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_at_once_even_while_a_request_is_held_up(number: signal.Signals) -> None:
    with started("--api-key", "other", "--duration", "0.5") as (process, url):
        post(f"{url}/_faults", [{"match": {"route": "run_task"}, "action": {"latency": 600}}])
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as held:
            held.sendall(b"POST /v1/run/tasks HTTP/1.1\r\nHost: s\r\nContent-Length: 0\r\n\r\n")
            post(f"{url}/v1/run/workflows", {"workflow_id": "wpid_1"})

            process.send_signal(number)

            assert process.wait(timeout=10) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.parametrize("action", [{"reset": "after_body"}, {"reset": "mid_answer"}])
def test_a_reset_is_one_under_the_process_own_event_loop_too(action: dict[str, str]) -> None:
    with started("--api-key", "other") as (_, url):
        post(f"{url}/_faults", [{"action": action}])

        with pytest.raises(ConnectionResetError):
            post(f"{url}/v1/run/workflows", {"workflow_id": "wpid_1"})


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--failed", "1.5"], "--failed"),
        (["--failed", "0.6", "--terminated", "0.6"], "--terminated"),
        (["--port", "70000"], "--port"),
        (["--duration", "-1"], "--duration"),
        (["--max-requests-per-second", "0.1"], "--window"),
        (["--host", "203.0.113.1"], "--host"),
    ],
)
def test_a_bad_option_is_named(options: list[str], named: str) -> None:
    command = [sys.executable, "-m", "simulator", *options]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    assert ended.returncode == 2
    assert named in ended.stderr
    assert "Traceback" not in ended.stderr
