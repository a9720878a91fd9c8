"""The real command, `celery -A worker.app worker`, and what stops its start."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis
import typer

from launcher.cli import up
from launcher.supervisor import StackError
from runqueue.store.keys import ACCOUNTS, FORMAT, FORMAT_KEY
from tests.worker.working import closed_port

COMMAND = [sys.executable, "-m", "celery", "-A", "worker.app", "worker"]
KEY = "sk-live-0123456789"


def environment(**given: str) -> dict[str, str]:
    clean = {n: v for n, v in os.environ.items() if not n.startswith(("RUNQUEUE_", "SKYVERN_"))}
    return {**clean, "RUNQUEUE_METRICS_PORT": "0", **given}


def start(folder: Path, **given: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        COMMAND,
        cwd=folder,
        env=environment(**given),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


INTERVALS = """
from kombu.utils import functional
functional.sleep = lambda _: None
from kombu.exceptions import OperationalError
from worker.app import app
intervals = []
with app.connection_for_read() as lost:
    try:
        lost.ensure_connection(lambda _, interval: intervals.append(interval), 30)
    except OperationalError:
        print(len(intervals), *set(intervals))
"""


def test_a_lost_broker_is_tried_every_second_however_long_it_is_away(tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{closed_port()}/0"

    done = subprocess.run(
        [sys.executable, "-c", INTERVALS],
        cwd=tmp_path,
        env=environment(SKYVERN_API_KEY=KEY, RUNQUEUE_REDIS_URL=url),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.stdout.split() == ["30", "1.0"], done.stderr


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"RUNQUEUE_MAX_BURST_SIZE": "x"}, "RUNQUEUE_MAX_BURST_SIZE: expected a valid integer"),
        ({"SKYVERN_API_KEY": ""}, "SKYVERN_API_KEY: expected the API key of your Skyvern account"),
        ({"RUNQUEUE_REDIS_URL": "nonsense"}, "RUNQUEUE_REDIS_URL: expected a URL such as redis://"),
    ],
    ids=["a wrong number", "no key", "no URL"],
)
def test_a_wrong_setting_stops_the_start_with_its_name_and_what_was_expected(
    tmp_path: Path, given: dict[str, str], words: str
) -> None:
    good = {"SKYVERN_API_KEY": KEY, "RUNQUEUE_REDIS_URL": "redis://127.0.0.1:9/0"}

    done = start(tmp_path, **{**good, **given})

    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert KEY not in done.stdout + done.stderr


#: Names of accounts whose jobs' ids begin alike.
ALIKE = ("tenant-308", "tenant-517")


def with_account(name: str) -> dict[str, str]:
    return {f"RUNQUEUE_ACCOUNTS__{name}__API_KEY": f"key-{name}"}


def test_two_accounts_whose_ids_begin_alike_stop_the_start_by_their_names(tmp_path: Path) -> None:
    both = with_account(ALIKE[0]) | with_account(ALIKE[1])

    done = start(tmp_path, RUNQUEUE_REDIS_URL=f"redis://127.0.0.1:{closed_port()}/0", **both)

    assert done.returncode != 0
    assert "tenant-308 and tenant-517" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_account_whose_ids_begin_as_one_s_that_redis_knows_stops_the_start(
    tmp_path: Path, client: redis.Redis, redis_url: str
) -> None:
    client.sadd(ACCOUNTS, "default", ALIKE[1])

    done = start(tmp_path, RUNQUEUE_REDIS_URL=redis_url, **with_account(ALIKE[0]))

    assert done.returncode != 0
    assert "tenant-308 and tenant-517" in done.stderr
    assert "Traceback" not in done.stderr
    assert client.smembers(ACCOUNTS) == {b"default", ALIKE[1].encode()}


def test_a_worker_that_waits_for_redis_can_be_stopped(tmp_path: Path) -> None:
    log = tmp_path / "log"
    url = f"redis://127.0.0.1:{closed_port()}/0"
    with log.open("wb") as out:
        worker = subprocess.Popen(
            COMMAND,
            cwd=tmp_path,
            env=environment(SKYVERN_API_KEY=KEY, RUNQUEUE_REDIS_URL=url),
            stdout=out,
            stderr=out,
        )
    try:
        deadline = time.monotonic() + 30
        while "redis_unreachable" not in log.read_text():
            assert time.monotonic() < deadline, log.read_text()
            assert worker.poll() is None, log.read_text()
            time.sleep(0.02)

        worker.send_signal(signal.SIGTERM)

        assert worker.wait(timeout=20) == 0, log.read_text()
    finally:
        worker.kill()
        worker.wait()


def test_all_that_a_worker_writes_where_no_terminal_is_are_json_lines(
    tmp_path: Path, redis_url: str
) -> None:
    settings = environment(SKYVERN_API_KEY=KEY, RUNQUEUE_REDIS_URL=redis_url)
    with subprocess.Popen(
        # The queues make it warn before Celery sets up logging; root is warned of by Celery.
        [*COMMAND, "-Q", "mine"],
        cwd=tmp_path,
        env=settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as worker:
        assert worker.stdout is not None
        lines = []
        try:
            for line in worker.stdout:
                lines.append(line)
                if "worker_ready" in line:
                    worker.send_signal(signal.SIGTERM)
        finally:
            worker.kill()

    events = [json.loads(line)["event"] for line in lines]
    assert {"queues_ignored", "worker_ready", "account_stopped"} <= {*events}
    assert ("SecurityWarning" in "".join(events)) == (os.geteuid() == 0)


@pytest.mark.usefixtures("no_settings")
def test_up_says_which_variables_are_no_settings_before_it_starts_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".env").write_text(f"SKYVERN_API_KEY={KEY}\nRUNQUEUE_MAX_OPEN_CALL=7\n")
    monkeypatch.setenv("RUNQUEUE_MAX_BURST", "3")

    def fail(*_: object, **__: object) -> None:
        raise StackError("not started")

    monkeypatch.setattr("launcher.cli._start", fail)
    with pytest.raises(typer.Exit):
        up()

    assert capsys.readouterr().err.splitlines() == [
        "runqueue: RUNQUEUE_MAX_OPEN_CALL is not a setting (did you mean RUNQUEUE_MAX_OPEN_CALLS?)",
        "runqueue: RUNQUEUE_MAX_BURST is not a setting (did you mean RUNQUEUE_MAX_BURST_SIZE?)",
        "runqueue: not started",
    ]


@pytest.mark.usefixtures("no_settings")
def test_up_starts_nothing_where_redis_holds_another_format(
    client: redis.Redis,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    client.set(FORMAT_KEY, FORMAT + 1)
    monkeypatch.setenv("SKYVERN_API_KEY", KEY)
    monkeypatch.setenv("RUNQUEUE_REDIS_URL", redis_url)

    with pytest.raises(typer.Exit) as ended:
        up()

    assert ended.value.exit_code == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"runqueue: Redis holds format {FORMAT + 1}")
