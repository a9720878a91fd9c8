"""`runqueue up` as a user runs it, against a simulator instead of Skyvern."""

import os
import pty
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest
import redis

from lab.proxy import Network
from runqueue import JobState, RunQueue
from runqueue.connection.urls import shown_url
from runqueue.embedded.server import running_url
from tests.acceptance.test_demo import processes_in
from tests.worker.working import closed_port

pytestmark = pytest.mark.acceptance

_LINE = {"kind": "task", "body": {"prompt": "x", "url": "https://x.test/?sim_seconds=0.3"}}


@dataclass(frozen=True, slots=True)
class Up:
    """A running `runqueue up`; both its outputs are read as one."""

    process: "subprocess.Popen[str]"
    folder: Path

    def wait_for(self, words: str) -> str:
        """Read on to a line with these words."""
        assert self.process.stdout is not None
        said = []
        for line in self.process.stdout:
            said.append(line)
            if words in line:
                return line
        raise AssertionError(f"never said {words!r}:\n{''.join(said)}")

    def workers(self) -> list[int]:
        """Return the ids of the worker processes."""
        return self.children("\0worker\0")

    def children(self, word: str) -> list[int]:
        """Return the ids of the processes whose commands hold a word."""
        children = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        found = [int(child) for child in Path(children).read_text().split()]
        return [n for n in found if word in Path(f"/proc/{n}/cmdline").read_text()]


def running_up(folder: Path, *arguments: str, **environ: str) -> AbstractContextManager[Up]:
    """Start it in a folder of its own, and read what it writes."""
    return writing_to(subprocess.PIPE, folder, arguments, environ)


@contextmanager
def writing_to(
    out: int, folder: Path, arguments: Sequence[str], environ: Mapping[str, str]
) -> Iterator[Up]:
    """Start it in a folder of its own, writing to a file descriptor."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RUNQUEUE_", "SKYVERN_"))
    }
    ours = {"RUNQUEUE_METRICS_PORT": "0", "RUNQUEUE_GATEWAY_PORT": "0"}
    settings = {"SKYVERN_API_KEY": "simulator-key", **ours, **environ}
    process = subprocess.Popen(
        [sys.executable, "-m", "runqueue.cli", "up", *arguments],
        cwd=folder,
        env={**clean, **settings},
        stdout=out,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield Up(process, folder)
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture(scope="module")
def simulator() -> Iterator[str]:
    """The base URL of a simulator."""
    command = [sys.executable, "-m", "simulator", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
        process.terminate()


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_it_works_restarts_a_worker_that_dies_and_ends_whole(
    tmp_path: Path, simulator: str
) -> None:
    with running_up(tmp_path, "--workers", "1", SKYVERN_BASE_URL=simulator) as up:
        up.wait_for("worker_ready")
        os.kill(up.workers()[0], signal.SIGKILL)
        up.wait_for("worker 1 ended (-9); again in 1 s")
        up.wait_for("worker_ready")
        url = running_url(tmp_path / ".runqueue")

        with RunQueue(url) as queue:
            job_id = queue.enqueue_many([_LINE])[0].job_id
            assert queue.wait(job_id, timeout=30).state is JobState.COMPLETED

        up.process.send_signal(signal.SIGTERM)
        up.wait_for("account_stopped")
        assert up.process.wait(timeout=40) == 0
    assert processes_in(tmp_path) == []
    assert not (tmp_path / ".runqueue" / "url").exists()


def test_it_uses_the_queue_it_is_told_and_shows_no_password(
    tmp_path: Path, simulator: str, redis_url: str, client: redis.Redis
) -> None:
    client.acl_setuser(
        "up", enabled=True, passwords=["+secret"], keys=["*"], channels=["*"], categories=["+@all"]
    )
    url = redis_url.replace("redis://", "redis://up:secret@")

    with running_up(tmp_path, SKYVERN_BASE_URL=simulator, RUNQUEUE_REDIS_URL=url) as up:
        said = up.wait_for("queue: ")
        up.wait_for("worker_ready")

    assert said == f"queue: {redis_url}\n"
    assert not (tmp_path / ".runqueue").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_gateway_takes_the_webhooks_and_is_started_again_when_it_dies(
    tmp_path: Path, simulator: str
) -> None:
    port = str(closed_port())
    settings = {
        "SKYVERN_BASE_URL": simulator,
        "RUNQUEUE_GATEWAY_PORT": port,
        "RUNQUEUE_PUBLIC_URL": f"http://127.0.0.1:{port}",
        # A look at the run would come too late for the test.
        "RUNQUEUE_POLL_MIN_SECONDS": "300",
        "RUNQUEUE_POLL_MAX_SECONDS": "300",
    }
    with running_up(tmp_path, "--workers", "1", **settings) as up:
        assert up.wait_for("gateway: ") == f"gateway: http://127.0.0.1:{port}\n"
        up.wait_for("worker_ready")
        (gateway,) = up.children("gateway")
        os.kill(gateway, signal.SIGKILL)
        up.wait_for("gateway ended (-9); again in 1 s")
        up.wait_for("gateway_ready")

        with RunQueue(running_url(tmp_path / ".runqueue")) as queue:
            job_id = queue.enqueue_many([_LINE])[0].job_id
            assert queue.wait(job_id, timeout=30).state is JobState.COMPLETED

        up.process.send_signal(signal.SIGTERM)
        assert up.process.stdout is not None
        said = up.process.stdout.read()
        assert up.process.wait(timeout=40) == 0
    assert "account_stopped" in said
    assert "gateway_stopped" in said
    assert processes_in(tmp_path) == []


def until_line(out: IO[str], words: str) -> Iterator[str]:
    """Go through what is said up to a line with these words."""
    for line in out:
        yield line
        if words in line:
            return


def test_a_log_holds_neither_the_embedded_server_s_password_nor_the_gateway_s_token(
    tmp_path: Path, simulator: str
) -> None:
    settings = {
        "SKYVERN_BASE_URL": simulator,
        "RUNQUEUE_GATEWAY_PORT": str(closed_port()),
        "RUNQUEUE_LOG_LEVEL": "DEBUG",
    }
    with running_up(tmp_path, "--workers", "1", **settings) as up:
        assert up.process.stdout is not None
        lines = [*until_line(up.process.stdout, "worker_ready")]
        home = tmp_path / ".runqueue"
        secrets = [(home / name).read_text().strip() for name in ("password", "token")]
        url = running_url(home)
        up.process.send_signal(signal.SIGTERM)
        lines += up.process.stdout

    assert url is not None
    assert f"queue: {shown_url(url)}\n" in lines
    assert "account_stopped" in "".join(lines)
    for secret in secrets:
        assert secret not in "".join(lines)


def test_a_terminal_shows_a_link_that_logs_in(tmp_path: Path, redis_url: str) -> None:
    settings = {
        "RUNQUEUE_REDIS_URL": redis_url,
        "RUNQUEUE_GATEWAY_PORT": str(closed_port()),
        "RUNQUEUE_GATEWAY_HOST": "0.0.0.0",
    }
    ours, theirs = pty.openpty()
    with (
        writing_to(theirs, tmp_path, ["--workers", "1"], settings),
        os.fdopen(ours, errors="replace") as screen,
    ):
        os.close(theirs)
        link = next(line.split()[-1] for line in screen if line.startswith("page: "))
        assert link.startswith(f"http://localhost:{settings['RUNQUEUE_GATEWAY_PORT']}/login?token=")
        jar = urllib.request.HTTPCookieProcessor()
        browser = urllib.request.build_opener(urllib.request.ProxyHandler({}), jar)
        with browser.open(link, timeout=30) as page:
            assert page.url == f"{link.partition('/login')[0]}/"
            assert b"this machine" in page.read()
        screen.close()


def test_a_port_of_the_gateway_s_that_is_taken_is_named(tmp_path: Path, redis_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        settings = {"RUNQUEUE_REDIS_URL": redis_url, "RUNQUEUE_GATEWAY_PORT": port}
        with running_up(tmp_path, **settings) as up:
            up.wait_for(
                f"port {port} is taken, perhaps by another `runqueue up`: stop that, or set"
            )
            assert up.process.wait(timeout=20) == 1


def test_a_redis_that_is_away_is_reported_and_waited_for_before_anything_starts(
    tmp_path: Path, redis_url: str
) -> None:
    with Network() as network:
        proxy = network.proxy("127.0.0.1", int(redis_url.rpartition(":")[2].partition("/")[0]))
        proxy.refuse()
        url = f"redis://127.0.0.1:{proxy.port}/0"
        with running_up(tmp_path, "--workers", "1", RUNQUEUE_REDIS_URL=url) as up:
            said = up.wait_for("waiting until it answers")
            assert said.startswith(f"runqueue: Redis at {url}: ")
            assert up.workers() == []

            proxy.heal()
            up.wait_for("worker_ready")


def test_a_wrong_setting_is_named_and_nothing_is_started(tmp_path: Path) -> None:
    with running_up(tmp_path, RUNQUEUE_MAX_OPEN_CALLS="0") as up:
        up.wait_for("RUNQUEUE_MAX_OPEN_CALLS: expected")
        assert up.process.wait(timeout=20) == 2
    assert not (tmp_path / ".runqueue").exists()
