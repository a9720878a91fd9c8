"""The embedded server: one owner for a directory, and nothing lost whatever ends the owner."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from runqueue.keys import ACCOUNTS
from runqueue.server import EmbeddedServer, ServerError, running_url


@contextmanager
def owning(directory: Path) -> Iterator["tuple[subprocess.Popen[str], str]"]:
    """Run `runqueue server` as a process; gives it and the URL it prints."""
    command = [sys.executable, "-m", "runqueue.cli", "server", "--dir", str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def process_of(url: str) -> int:
    with redis.Redis.from_url(url) as client:
        return int(client.info("server")["process_id"])


def test_it_writes_its_address_and_announces_the_default_account(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        assert (tmp_path / "url").read_text() == f"{server.url}\n"
        assert client.smembers(ACCOUNTS) == {b"default"}


def test_it_keeps_what_it_was_given_and_never_evicts(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        assert client.info("memory")["maxmemory_policy"] == "noeviction"
        client.set("job", "kept")

    with EmbeddedServer(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        assert client.get("job") == b"kept"


def test_a_second_start_in_its_directory_names_the_owners_address(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server:
        with pytest.raises(ServerError, match=server.url):
            EmbeddedServer(tmp_path).start()

        assert running_url(tmp_path) == server.url
        assert (tmp_path / "url").exists()


def test_a_stop_removes_the_address_and_frees_the_directory(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path):
        pass

    assert not (tmp_path / "url").exists()
    assert running_url(tmp_path) is None
    with EmbeddedServer(tmp_path):
        pass


def test_a_server_that_outlived_its_killed_owner_is_ended_and_its_data_kept(
    tmp_path: Path,
) -> None:
    with owning(tmp_path) as (owner, url):
        left_over = process_of(url)
        owner.kill()
        owner.wait()
    with redis.Redis.from_url(url) as client:
        client.set("job", "kept")

    with EmbeddedServer(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        assert client.get("job") == b"kept"
        assert process_of(server.url) != left_over
        assert server.url == url  # so that workers find it again


def test_another_server_on_the_last_port_is_left_alone(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path / "other") as other:
        (tmp_path / "port").write_text(other.url.rpartition(":")[2].partition("/")[0])

        with EmbeddedServer(tmp_path) as server:
            assert server.url != other.url
            assert other.is_running()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_process_in_good_order(tmp_path: Path, number: signal.Signals) -> None:
    with owning(tmp_path) as (owner, url):
        server = process_of(url)

        owner.send_signal(number)

        assert owner.wait(timeout=20) == 0
    assert not (tmp_path / "url").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(server, 0)


def test_the_process_ends_when_its_server_dies(tmp_path: Path) -> None:
    with owning(tmp_path) as (owner, url):
        os.kill(process_of(url), signal.SIGKILL)

        assert owner.wait(timeout=20) == 4


def test_it_starts_within_seconds(tmp_path: Path) -> None:
    start = time.monotonic()

    with EmbeddedServer(tmp_path):
        assert time.monotonic() - start < 5
