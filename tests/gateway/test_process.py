"""The real command, `python -m gateway`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from gateway.__main__ import main
from runqueue import JobState
from runqueue.store.keys import ACCOUNTS
from tests.gateway.gating import KEY, Desk, address, signed
from tests.worker.working import closed_port

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@contextmanager
def process(folder: Path, **given: str) -> Iterator[subprocess.Popen[str]]:
    """Start it in a folder of its own."""
    clean = {n: v for n, v in os.environ.items() if not n.startswith(("RUNQUEUE_", "SKYVERN_"))}
    settings = {"SKYVERN_API_KEY": KEY, "RUNQUEUE_GATEWAY_PORT": "0", **given}
    started = subprocess.Popen(
        [sys.executable, "-m", "gateway"],
        cwd=folder,
        env=clean | {name: value for name, value in settings.items() if value},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


def url_of(started: subprocess.Popen[str]) -> str:
    """Where it says it listens."""
    assert started.stdout is not None
    line = started.stdout.readline()
    assert line.startswith("gateway: "), line
    return line.split()[-1]


def test_it_tells_where_it_listens_and_a_signal_ends_it_well(
    tmp_path: Path, redis_url: str
) -> None:
    with process(tmp_path, RUNQUEUE_REDIS_URL=redis_url) as started:
        url = url_of(started)
        with _DIRECT.open(f"{url}/readyz", timeout=10) as answer:
            assert answer.status == 200
        started.send_signal(signal.SIGTERM)
        said = started.communicate(timeout=20)[1]

        assert started.returncode == 0
    assert "gateway_stopped" in said
    assert "Traceback" not in said


def test_what_is_open_at_its_end_is_finished(tmp_path: Path, desk: Desk, redis_url: str) -> None:
    (job,) = desk.running()
    raw = b'{"run_id": "tsk_1", "status": "completed"}'.replace(
        b"tsk_1", str(desk.job(job).run_id).encode()
    )
    head = f"POST {address(job)} HTTP/1.1\r\nhost: g\r\ncontent-length: {len(raw)}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in signed(raw).items())
    head += "expect: 100-continue\r\n\r\n"  # answered once the body is waited for

    with process(tmp_path, RUNQUEUE_REDIS_URL=redis_url) as started:
        host, port = url_of(started).removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head.encode())
            assert connection.recv(4096).startswith(b"HTTP/1.1 100 ")
            connection.sendall(raw[:5])
            started.send_signal(signal.SIGTERM)
            _wait_until_it_listens_no_more(host, int(port))
            connection.sendall(raw[5:])
            said = connection.recv(4096)
        assert started.wait(timeout=20) == 0

    assert said.startswith(b"HTTP/1.1 200 ")
    assert desk.job(job).state is JobState.COMPLETED


def _wait_until_it_listens_no_more(host: str, port: int) -> None:
    while True:
        try:
            socket.create_connection((host, port)).close()
        except OSError:
            return


def test_no_secret_is_logged_whatever_is_sent(tmp_path: Path, desk: Desk, redis_url: str) -> None:
    (job,) = desk.running()
    token = address(job).partition("?")[0].rpartition("/")[2]
    body = b'{"run_id": "tsk_4111111111111111", "status": "completed"'

    with process(tmp_path, RUNQUEUE_REDIS_URL=redis_url, RUNQUEUE_LOG_LEVEL="DEBUG") as started:
        url = url_of(started)
        for headers in ({}, signed(body), {"authorization": "Bearer sesame"}):
            request = urllib.request.Request(url + address(job), body, headers)
            with pytest.raises(urllib.error.HTTPError):
                _DIRECT.open(request, timeout=10)
        started.send_signal(signal.SIGTERM)
        said = "".join(started.communicate(timeout=20))

    assert said.count('"event": "webhook"') == 3
    for secret in (KEY, token, "4111111111111111", signed(body)["x-skyvern-signature"], "sesame"):
        assert secret not in said


@pytest.mark.usefixtures("no_settings")
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"SKYVERN_API_KEY": ""}, "SKYVERN_API_KEY: expected the API key"),
        ({"RUNQUEUE_GATEWAY_PORT": "x"}, "RUNQUEUE_GATEWAY_PORT: expected a valid integer"),
        ({"RUNQUEUE_API_TOKENS": "sesame"}, "RUNQUEUE_API_TOKENS: expected <name>:<scopes>:"),
        (
            {"RUNQUEUE_REDIS_URL": ""},
            "start `runqueue up` (or `runqueue server` alone) here, or set RUNQUEUE_REDIS_URL",
        ),
    ],
    ids=["no key", "a wrong port", "a token as it is", "no queue"],
)
def test_a_wrong_setting_stops_the_start_with_its_name(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    given: dict[str, str],
    words: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["gateway"])
    good = {"SKYVERN_API_KEY": KEY, "RUNQUEUE_REDIS_URL": "redis://127.0.0.1:9/0"}
    for name, value in {**good, **given}.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(SystemExit) as ended:
        main()

    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert words in said
    assert "sesame" not in said


def test_two_accounts_whose_ids_begin_alike_stop_the_start(
    tmp_path: Path, client: redis.Redis, redis_url: str
) -> None:
    client.sadd(ACCOUNTS, "default", "tenant-517")
    given = {"RUNQUEUE_ACCOUNTS__tenant-308__API_KEY": "key-308"}

    with process(tmp_path, RUNQUEUE_REDIS_URL=redis_url, **given) as started:
        said = started.communicate(timeout=30)[1]

    assert started.returncode != 0
    assert "tenant-308 and tenant-517" in said
    assert "Traceback" not in said
    assert b"tenant-308" not in client.smembers(ACCOUNTS)


def test_a_port_that_is_taken_stops_the_start(tmp_path: Path, redis_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        with process(tmp_path, RUNQUEUE_REDIS_URL=redis_url, RUNQUEUE_GATEWAY_PORT=port) as started:
            said = started.communicate(timeout=20)[1]

    assert started.returncode != 0
    assert f"cannot listen at 127.0.0.1:{port}: Address already in use" in said
    assert "RUNQUEUE_GATEWAY_PORT" in said
    assert "Traceback" not in said


def test_it_warns_of_a_token_for_an_account_without_a_key(tmp_path: Path) -> None:
    redis_url = f"redis://127.0.0.1:{closed_port()}/0"
    tokens = f"ops:operate@acme:{'0' * 64},shop:operate@default:{'1' * 64}"
    with process(tmp_path, RUNQUEUE_REDIS_URL=redis_url, RUNQUEUE_API_TOKENS=tokens) as started:
        url_of(started)
        started.send_signal(signal.SIGTERM)
        said = started.communicate(timeout=20)[1]

    assert '"accounts": ["acme"]' in said
