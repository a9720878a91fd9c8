"""The probes of a worker: whether its loop turns, and whether it may submit."""

import json
import socket
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from config import process_metrics
from lab.valkeys import start_valkey
from lab.waiting import until
from tests.worker.test_runtime import running, settings
from tests.worker.working import closed_port
from worker import runtime as module
from worker.process import metrics_server
from worker.process.metrics_server import serve_metrics
from worker.runtime import Runtime

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def probe(url: str, path: str) -> tuple[int, str]:
    """Ask a probe; returns its status and what it says."""
    try:
        with _DIRECT.open(url.replace("/metrics", path), timeout=10) as answer:
            return int(answer.status), str(json.load(answer)["status"])
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, str(json.load(refused)["status"])


def served(runtime: Runtime, redis_url: str) -> str:
    """Serve a process' probes."""
    url = serve_metrics("127.0.0.1", closed_port(), redis_url, runtime)
    assert url is not None
    return url


def test_a_process_that_waits_for_redis_lives_and_is_not_ready(
    tmp_path: Path, logged: list[Any]
) -> None:
    port = closed_port()
    runtime = Runtime(settings(), f"redis://127.0.0.1:{port}/0")
    url = served(runtime, runtime.url)
    starting = threading.Thread(target=runtime.start)
    starting.start()
    until(lambda: "redis_unreachable" in [event["event"] for event in logged])
    assert probe(url, "/healthz") == (200, "ok")
    assert probe(url, "/readyz") == (503, "waiting for Redis")

    server = start_valkey(tmp_path, port)
    try:
        starting.join(20)
        assert probe(url, "/readyz") == (200, "ok")
        runtime.stop()
        assert probe(url, "/readyz") == (503, "stopping")
    finally:
        server.stop()


def test_a_process_whose_lease_is_over_lives_and_is_not_ready(redis_url: str) -> None:
    with running(redis_url, settings()) as runtime:
        url = served(runtime, redis_url)
        runtime.accounts["default"].lease._good_until = 0.0

        assert probe(url, "/readyz") == (503, "no lease in default")
        assert probe(url, "/healthz") == (200, "ok")


class Alive:
    """A process that does well."""

    def is_alive(self) -> bool:
        return True

    def why_not_ready(self) -> str:
        return ""


def connected(url: str, n: int) -> list[socket.socket]:
    """Connections to where metrics are served."""
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    return [socket.create_connection((parts.hostname, parts.port), timeout=20) for _ in range(n)]


def handlers() -> int:
    """Threads that have a connection."""
    return sum("process_request_thread" in thread.name for thread in threading.enumerate())


def test_idle_connections_take_a_bounded_number_of_threads_and_no_probe_s_turn(
    redis_url: str,
) -> None:
    url = serve_metrics("127.0.0.1", closed_port(), redis_url, Alive())
    assert url is not None
    idle = connected(url, 4 * metrics_server.MOST_CONNECTIONS)
    try:
        for path in ("/healthz", "/readyz"):
            assert probe(url, path) == (200, "ok")
        until(lambda: handlers() <= metrics_server.MOST_CONNECTIONS)
        # The last that came are kept: the oldest made room for them.
        assert idle[0].recv(1) == b""
        idle[-1].sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert idle[-1].recv(12) == b"HTTP/1.0 200"
    finally:
        for one in idle:
            one.close()


def test_a_request_that_does_not_come_in_time_is_not_waited_for(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(metrics_server.RequestHandler, "timeout", 0.1)
    url = serve_metrics("127.0.0.1", closed_port(), redis_url, Alive())
    assert url is not None
    (silent,) = connected(url, 1)
    with silent:
        assert silent.recv(1) == b""
    until(lambda: handlers() == 0)
    assert "Traceback" not in capfd.readouterr().err


def test_a_loop_that_is_stuck_is_not_alive_until_it_turns_again(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_metrics, "LAG_EVERY", 0.01)
    monkeypatch.setattr(module, "STUCK_SECONDS", 0.5)
    let_go = threading.Event()
    with running(redis_url, settings()) as runtime:
        url = served(runtime, redis_url)
        runtime._loop.call_soon_threadsafe(let_go.wait)
        try:
            until(lambda: probe(url, "/healthz") == (503, "the event loop is stuck"))
        finally:
            let_go.set()
        until(lambda: probe(url, "/healthz") == (200, "ok"))
