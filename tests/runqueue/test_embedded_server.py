"""The embedded server: one owner for a directory, and nothing lost whatever ends the owner."""

import functools
import os
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis

from runqueue import RunQueue
from runqueue.connection.urls import shown_url
from runqueue.embedded import server
from runqueue.embedded.server import EmbeddedServer, running_url
from runqueue.embedded.valkey import EmbeddedServerError, is_alive
from runqueue.records.claim_items import ClaimAnswer
from runqueue.store import sending, worker_calls
from runqueue.store.keys import ACCOUNTS, FORMAT, FORMAT_KEY

#: Microseconds that a worker's lease lasts.
LEASE = 15_000_000


@contextmanager
def owning(
    directory: Path, *, start_new_session: bool = False
) -> Iterator["tuple[subprocess.Popen[str], str]"]:
    """Run `runqueue server` as a process; gives it and its server's URL."""
    command = [sys.executable, "-m", "runqueue.cli", "server", "--dir", str(directory)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=start_new_session
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            url = running_url(directory)
            assert url is not None
            yield process, url
        finally:
            process.kill()


def password_of(url: str) -> str:
    password = urlsplit(url).password
    assert password
    return password


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


def test_data_of_another_format_is_not_served(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        assert client.get(FORMAT_KEY) == b"%d" % FORMAT
        client.set(FORMAT_KEY, FORMAT + 1)

    with pytest.raises(EmbeddedServerError, match=f"holds format {FORMAT + 1}"):
        EmbeddedServer(tmp_path).start()


def test_a_second_start_in_its_directory_names_the_owners_address(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server:
        with pytest.raises(EmbeddedServerError, match=shown_url(server.url)) as refused:
            EmbeddedServer(tmp_path).start()
        assert password_of(server.url) not in str(refused.value)

        assert running_url(tmp_path) == server.url
        assert (tmp_path / "url").exists()


def test_a_stop_removes_the_address_and_frees_the_directory(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path):
        pass

    assert not (tmp_path / "url").exists()
    assert running_url(tmp_path) is None
    with EmbeddedServer(tmp_path):
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="processes end with others on Linux")
def test_a_server_ends_with_its_killed_owner_and_its_data_is_kept(tmp_path: Path) -> None:
    with owning(tmp_path) as (owner, url):
        server = process_of(url)
        with redis.Redis.from_url(url) as client:
            client.set("job", "kept")
        owner.kill()
        owner.wait()

        deadline = time.monotonic() + 30
        while is_alive(server):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    with EmbeddedServer(tmp_path) as again, redis.Redis.from_url(again.url) as client:
        assert client.get("job") == b"kept"
        assert again.url == url  # so that workers find it again


@pytest.mark.skipif(sys.platform != "linux", reason="processes end with others on Linux")
def test_a_start_right_after_the_owner_was_killed_waits_for_the_end_of_its_server(
    tmp_path: Path,
) -> None:
    with owning(tmp_path) as (owner, url), redis.Redis.from_url(url) as client:
        left_over = process_of(url)
        client.set("job", "kept")
        os.kill(left_over, signal.SIGSTOP)  # it has heard of it, and takes its time
        owner.kill()
        owner.wait()
        threading.Timer(1, os.kill, (left_over, signal.SIGCONT)).start()

        with EmbeddedServer(tmp_path) as server, redis.Redis.from_url(server.url) as again:
            assert not is_alive(left_over)
            assert again.get("job") == b"kept"
            assert server.url == url


def test_a_server_lives_on_when_the_thread_that_started_it_has_ended(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path)
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    try:
        with redis.Redis.from_url(server.url) as client:
            for _ in range(20):
                assert client.set("job", "kept")
        assert server.is_running()
    finally:
        server.stop()


def test_a_folder_that_cannot_be_written_is_said_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedServerError) as refused:
        EmbeddedServer(tmp_path / "file" / ".runqueue").start()
    words = str(refused.value)
    assert f"cannot keep its data in {tmp_path}/file/.runqueue: Not a directory" in words
    assert "--dir DIR" in words
    assert "RUNQUEUE_REDIS_URL" in words
    assert "Errno" not in words


def test_who_has_no_password_is_answered_nothing(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server:
        with redis.Redis.from_url(shown_url(server.url)) as nobody:
            for command in (("KEYS", "*"), ("REPLICAOF", "127.0.0.1", "1"), ("CONFIG", "GET", "*")):
                with pytest.raises(redis.AuthenticationError):
                    nobody.execute_command(*command)
        with redis.Redis.from_url(server.url) as client:
            assert client.info("replication")["role"] == "master"


def test_the_password_is_in_files_of_the_owner_alone_and_nowhere_else(tmp_path: Path) -> None:
    with owning(tmp_path) as (owner, url):
        password = password_of(url).encode()
        for file in (path for path in tmp_path.rglob("*") if path.is_file()):
            holds = password in file.read_bytes()
            assert holds == (file.name in {"password", "url"}), file
            if holds:
                assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
        for process in (owner.pid, process_of(url)):
            if sys.platform == "linux":
                assert password not in Path(f"/proc/{process}/cmdline").read_bytes()


def test_the_address_is_announced_without_the_password(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "runqueue.cli", "server", "--dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.readline().strip()
        url = running_url(tmp_path)
        process.terminate()
        assert url is not None
        assert said == shown_url(url)


def test_the_password_stays_as_long_as_the_port_does(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server:
        first = server.url
    with EmbeddedServer(tmp_path) as server:
        assert server.url == first

    with (
        # It may have heard the password from clients of ours.
        socket.create_server(("127.0.0.1", urlsplit(first).port or 0)),
        EmbeddedServer(tmp_path) as server,
        redis.Redis.from_url(server.url) as client,
    ):
        assert password_of(server.url) != password_of(first)
        assert client.ping()


@pytest.mark.parametrize("password", ['a "quoted" \\ password', "p@ss/word:with?all#of%them"])
def test_a_password_of_one_s_own_will_do(tmp_path: Path, password: str) -> None:
    (tmp_path / "password").write_text(password)

    with EmbeddedServer(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        assert client.ping()


def test_a_password_s_file_that_holds_none_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("short")

    with pytest.raises(EmbeddedServerError, match="16 or more characters") as refused:
        EmbeddedServer(tmp_path).start()
    assert "short" not in str(refused.value)


def test_another_server_on_the_last_port_is_left_alone(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path / "other") as other:
        port = str(urlsplit(other.url).port)
        (tmp_path / "port").write_text(port)

        with EmbeddedServer(tmp_path) as server:
            assert str(urlsplit(server.url).port) != port
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


def test_a_ctrl_c_that_reaches_all_of_the_terminal_stops_it_in_good_order(tmp_path: Path) -> None:
    with owning(tmp_path, start_new_session=True) as (owner, url):
        owner.send_signal(signal.SIGSTOP)  # so that it has done nothing yet
        os.killpg(owner.pid, signal.SIGINT)
        with redis.Redis.from_url(url) as client:
            # Longer than a server takes to act on a signal.
            assert client.blpop("nothing", timeout=1) is None
        owner.send_signal(signal.SIGCONT)

        assert owner.wait(timeout=60) == 0
    assert (tmp_path / "stopped").exists()


def test_the_process_ends_when_its_server_dies(tmp_path: Path) -> None:
    with owning(tmp_path) as (owner, url):
        os.kill(process_of(url), signal.SIGKILL)

        assert owner.wait(timeout=20) == 4


# Whether what it holds is the latest.


def submitted(url: str, want: int, process: str) -> list[str] | None:
    """Have a worker claim jobs and say goodbye; None = the runs have to be listed first."""
    with redis.Redis.from_url(url) as client:
        sending.run(client, worker_calls.heartbeat("default", process, LEASE, -1, 0, first=True))
        sending.run(client, worker_calls.tick("default", process, 250_000, 0, woken=False))
        call = worker_calls.claim("default", process, f"c-{process}", want, 0, stay_idle=False)
        taken = sending.run(client, call)
        sending.run(client, worker_calls.bye("default", process))
    assert taken.answer in {ClaimAnswer.OK, ClaimAnswer.MOVED}
    return None if taken.answer is ClaimAnswer.MOVED else [job.job_id for job in taken.items]


@pytest.fixture
def worked(tmp_path: Path) -> tuple[Path, Path]:
    """A directory whose server was stopped, and a copy of it from before its last claims."""
    directory, copy = tmp_path / "data", tmp_path / "copy"
    with EmbeddedServer(directory) as server:
        with RunQueue(server.url) as queue:
            queue.enqueue_many({"kind": "task", "body": {"prompt": str(i)}} for i in range(4))
        assert len(submitted(server.url, 1, "w1") or ()) == 1
    shutil.copytree(directory, copy)  # of a time when everything had been stopped in good order
    with EmbeddedServer(directory) as server:
        assert len(submitted(server.url, 2, "w2") or ()) == 2
    return directory, copy


def test_after_a_stop_in_good_order_jobs_are_submitted_at_once(worked: tuple[Path, Path]) -> None:
    directory, _ = worked
    with EmbeddedServer(directory) as server:
        assert len(submitted(server.url, 10, "w3") or ()) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="limits of another process are set on Linux")
def test_after_writes_that_did_not_reach_its_file_the_runs_are_listed_first(
    worked: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, _ = worked
    # A server that is told to ignore a full disk's signal sees an error in its place, as of ENOSPC.
    popen = functools.partial(subprocess.Popen, restore_signals=False)
    monkeypatch.setattr(subprocess, "Popen", popen)
    with EmbeddedServer(directory) as server, redis.Redis.from_url(server.url) as client:
        process = int(client.info("server")["process_id"])
        file = max((directory / "appendonlydir").glob("*.incr.aof"))
        full = (file.stat().st_size + 10, resource.RLIM_INFINITY)
        resource.prlimit(process, resource.RLIMIT_FSIZE, full)
        client.set("claim", "acknowledged, and in no file")
        deadline = time.monotonic() + 30
        while client.info("persistence")["aof_last_write_status"] == "ok":
            assert time.monotonic() < deadline
            time.sleep(0.01)

    assert not (directory / "stopped").exists()
    with EmbeddedServer(directory) as server:
        assert submitted(server.url, 10, "w3") is None


def test_after_a_stop_whose_file_was_switched_off_the_runs_are_listed_first(
    worked: tuple[Path, Path],
) -> None:
    directory, _ = worked
    with EmbeddedServer(directory) as server, redis.Redis.from_url(server.url) as client:
        client.config_set("appendonly", "no")
        client.set("claim", "acknowledged, and in no file")

    with EmbeddedServer(directory) as server:
        assert submitted(server.url, 10, "w3") is None


@pytest.mark.parametrize("remembers", [False, True])
def test_a_worker_that_comes_back_before_the_owner_vouches_waits_only_if_it_remembers_more(
    worked: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, remembers: bool
) -> None:
    confirm = server._confirm

    def too_late(client: redis.Redis, *, is_latest: bool) -> None:
        assert is_latest
        known = 9 if remembers else 3
        beat = worker_calls.heartbeat("default", "w3", LEASE, known, 0, first=True)
        given = client.get_connection_kwargs()
        with redis.Redis(port=given["port"], password=given["password"]) as other:
            assert sending.run(other, beat) == -2
            sending.run(other, worker_calls.tick("default", "w3", 250_000, 0, woken=False))
        confirm(client, is_latest=is_latest)

    monkeypatch.setattr(server, "_confirm", too_late)
    with EmbeddedServer(worked[0]) as started:
        jobs = submitted(started.url, 10, "w4")
    assert jobs is None if remembers else len(jobs or ()) == 1


def moved_in_place(directory: Path, copy: Path) -> None:
    shutil.rmtree(directory)
    copy.rename(directory)


def copied_anew(directory: Path, copy: Path) -> None:
    shutil.rmtree(directory)
    shutil.copytree(copy, directory)


def copied_over(directory: Path, copy: Path) -> None:
    """Write into the files that are there: their inodes stay."""
    for file in copy.rglob("*"):
        if file.is_file():
            there = directory / file.relative_to(copy)
            there.write_bytes(file.read_bytes())
            shutil.copystat(file, there)


def copied_log_alone(directory: Path, copy: Path) -> None:
    shutil.rmtree(directory / "appendonlydir")
    shutil.copytree(copy / "appendonlydir", directory / "appendonlydir")


@pytest.mark.parametrize("restore", [moved_in_place, copied_anew, copied_over, copied_log_alone])
def test_a_restored_copy_submits_nothing_before_the_runs_are_listed(
    worked: tuple[Path, Path], restore: Callable[[Path, Path], None]
) -> None:
    restore(*worked)
    with EmbeddedServer(worked[0]) as server:
        assert submitted(server.url, 10, "w3") is None


def test_a_stop_does_not_make_a_restored_copy_the_latest(worked: tuple[Path, Path]) -> None:
    copied_anew(*worked)
    with EmbeddedServer(worked[0]):
        pass
    with EmbeddedServer(worked[0]) as server:
        assert submitted(server.url, 10, "w3") is None


def test_after_a_kill_the_runs_are_listed_first(worked: tuple[Path, Path]) -> None:
    directory, _ = worked
    with owning(directory) as (owner, url):
        os.kill(process_of(url), signal.SIGKILL)
        owner.wait(timeout=20)
    with EmbeddedServer(directory) as server:
        assert submitted(server.url, 10, "w3") is None


def test_after_a_restart_of_the_machine_the_runs_are_listed_first(
    worked: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    another = tmp_path / "boot_id"
    another.write_text("another boot\n")
    monkeypatch.setattr("runqueue.embedded.server._BOOT_ID", another)
    with EmbeddedServer(worked[0]) as server:
        assert submitted(server.url, 10, "w3") is None
