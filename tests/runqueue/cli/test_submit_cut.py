"""`runqueue submit` that is killed, interrupted or cut off half-way, and given again."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from lab.proxy import Network, Proxy
from runqueue import RunQueue
from runqueue.cli.shared.input_lines import Row, Source
from runqueue.cli.submit.submit_file import UploadAbandoned, UploadOptions, submit_file
from runqueue.producer import batch_upload
from runqueue.records.batch import NO_RULES
from runqueue.store.scripts import ScriptCall, T
from tests.runqueue.cli.commanding import Desk, line, lines

JOBS = 20_000
#: Of a line in the middle of the file.
MIDDLE = b"order-12345"


@pytest.fixture
def proxy(desk: Desk) -> Iterator[Proxy]:
    """The network between a command and Redis."""
    with Network() as network:
        yield network.proxy("127.0.0.1", int(desk.url.rpartition(":")[2].partition("/")[0]))


@pytest.fixture
def file(desk: Desk) -> str:
    """A file of some length."""
    return desk.file([line(f"order-{n}") for n in range(JOBS)])


@contextmanager
def submitting(proxy: Proxy, file: str, *more: str) -> Iterator[subprocess.Popen[str]]:
    """Give the command in a process of its own."""
    command = [sys.executable, "-m", "runqueue.cli", "submit", file, "--json", *more]
    environ = {**os.environ, "RUNQUEUE_REDIS_URL": f"redis://127.0.0.1:{proxy.port}/0"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environ, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def batches(desk: Desk) -> list[str]:
    found = cast("list[bytes]", desk.client.zrange("runqueue:{default}:batches", 0, -1))
    return [batch.decode() for batch in found]


def test_an_upload_killed_in_the_middle_and_given_again_has_a_job_a_line(
    desk: Desk, proxy: Proxy, file: str
) -> None:
    middle = proxy.trap("up", MIDDLE)
    with submitting(proxy, file) as process:
        middle.wait(60)
        process.kill()
    (killed,) = batches(desk)
    assert 0 < desk.queue.get_batch(killed).total < JOBS
    assert desk.queue.get_batch(killed).status == "validating"
    assert desk.client.keys("runqueue:{default}:ring:*") == []

    report = desk.json("submit", file)

    assert (report["jobs"], report["new"], report["known"]) == (JOBS, JOBS, 0)
    assert desk.queue.get_batch(report["batches"]["default"]).total == JOBS
    assert desk.states() == {"ready": JOBS}
    assert desk.queue.get_batch(killed).total == 0
    assert len(desk.claim()) == 500


def test_an_interrupted_upload_is_abandoned_and_says_that_nothing_was_submitted(
    desk: Desk, proxy: Proxy, file: str
) -> None:
    middle = proxy.trap("up", MIDDLE)
    with submitting(proxy, file) as process:
        middle.wait(60)
        process.send_signal(signal.SIGINT)
        middle.drop()
        said = process.communicate()[1]

    assert process.returncode == 130
    assert "Nothing was submitted; give the same command again." in said
    assert "Traceback" not in said
    assert list(desk.client.zrange("runqueue:{default}:unsealed", 0, -1, withscores=True)) == [
        (batches(desk)[0].encode(), 0)
    ]
    assert desk.claim() == []


def test_who_is_told_of_a_batch_is_not_shown_when_the_waiting_is_interrupted(
    desk: Desk, proxy: Proxy
) -> None:
    file = desk.file([line("a")])
    told = ["--callback-url", "https://user.test/?token=secret", "--callback-at=0.5", "--wait"]
    with submitting(proxy, file, *told) as process:
        assert process.stderr is not None
        assert "0/1 done" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        said = process.communicate()[1]

    assert process.returncode == 130
    assert "--wait -o OUT" in said
    assert "secret" not in said


def test_the_url_of_who_is_told_is_read_from_the_environment(desk: Desk) -> None:
    desk.environ["RUNQUEUE_CALLBACK_URL"] = url = "https://user.test/?token=secret"

    batch = desk.json("submit", desk.file([line("a")]))["batches"]["default"]

    stored = desk.client.hget("runqueue:{default}:batch:" + batch, "callback_url")
    assert cast(bytes, stored).decode() == url


def test_an_answer_that_is_lost_on_its_way_makes_no_job_twice(
    desk: Desk, proxy: Proxy, file: str
) -> None:
    middle = proxy.trap("up", MIDDLE, reply=True)
    with submitting(proxy, file) as process:
        middle.wait(60)
        middle.drop()
        report = json.loads(process.communicate()[0])

    assert process.returncode == 0
    assert (report["new"], report["known"]) == (JOBS, 0)
    assert desk.states() == {"ready": JOBS}


def test_a_redis_that_is_away_for_a_moment_is_waited_for(
    desk: Desk, proxy: Proxy, file: str
) -> None:
    middle = proxy.trap("up", MIDDLE)
    with submitting(proxy, file) as process:
        middle.wait(60)
        proxy.refuse()
        middle.drop()
        proxy.cut()
        threading.Timer(1, proxy.heal).start()
        report = json.loads(process.communicate()[0])

    assert (process.returncode, report["new"]) == (0, JOBS)


def test_a_redis_that_is_gone_for_good_ends_it_and_given_again_it_is_whole(
    desk: Desk, proxy: Proxy, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_upload, "PATIENCE", 0.5)
    middle = proxy.trap("up", MIDDLE)

    def cut() -> None:
        middle.wait(60)
        proxy.refuse()
        middle.drop()
        proxy.cut()

    cutting = threading.Thread(target=cut)
    cutting.start()
    far = Desk(f"redis://127.0.0.1:{proxy.port}/0", desk.folder, desk.client, desk.queue)
    result = far.run("submit", file)
    cutting.join()

    assert result.exit_code == 4
    assert "Nothing was submitted" in result.stderr
    assert desk.client.keys("runqueue:{default}:ring:*") == []

    assert desk.json("submit", file)["new"] == JOBS
    assert desk.states() == {"ready": JOBS}


def test_two_uploads_of_one_file_at_a_time_lose_no_job(desk: Desk, proxy: Proxy, file: str) -> None:
    middle = proxy.trap("up", MIDDLE)
    with submitting(proxy, file) as process:
        middle.wait(60)
        proxy.hold("up")  # what is sent again meanwhile waits, too
        report = desk.json("submit", file)
        proxy.heal()
        middle.release()
        said = process.communicate()[1]

    assert process.returncode == 4
    assert "a concurrent upload of the same jobs" in said
    assert report["new"] == JOBS
    assert desk.queue.get_batch(report["batches"]["default"]).total == JOBS
    assert desk.states() == {"ready": JOBS}


def test_a_bad_line_behind_what_was_sent_already_takes_it_all_back(
    desk: Desk, tmp_path: Path
) -> None:
    bad = desk.file([*(line(f"order-{n}") for n in range(3_500)), "oops", line("last")])

    result = desk.run("submit", bad)

    assert result.exit_code == 3
    assert f"{bad}:3501: line: " in result.stderr
    assert "1 bad line; nothing was submitted" in result.stderr
    assert batches(desk) == []
    assert desk.states() == {}


def source(rows: Iterator[Row]) -> Source:
    return Source("jobs.jsonl", rows, None, lambda: 0)


def numbered(rows: list[dict[str, Any]]) -> Iterator[Row]:
    return ((number, json.dumps(row).encode()) for number, row in enumerate(rows, 1))


OPTIONS = UploadOptions("first", "", NO_RULES, skip_invalid=False)


class _Overtaken(RunQueue):
    """A queue in which another upload of the same jobs begins just before one is accepted."""

    def send(self, call: ScriptCall[T]) -> T:
        if call.script.name == "seal_batch":
            other = self.open_batch("other")
            self.enqueue_many(lines(3), batch=other)
        return super().send(call)


def test_an_upload_whose_jobs_are_taken_over_at_its_end_does_not_say_that_it_has_them(
    desk: Desk,
) -> None:
    with (
        _Overtaken(desk.url) as queue,
        pytest.raises(UploadAbandoned, match="a concurrent upload of the same jobs"),
    ):
        submit_file(queue, source(numbered(lines(3))), OPTIONS, None)

    (other,) = batches(desk)
    assert desk.queue.seal_batch(other) == 3


def test_a_bad_line_is_named_although_redis_is_full_by_then(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    def rows() -> Iterator[Row]:
        yield from numbered(lines(1_000))
        give_up = time.monotonic() + 20
        while not (there := batches(desk)) or desk.queue.get_batch(there[0]).total < 1_000:
            assert time.monotonic() < give_up
            time.sleep(0.01)
        desk.client.config_set("maxmemory", 1)
        yield 1_001, b"oops"

    try:
        found, handed = submit_file(desk.queue, source(rows()), OPTIONS, None)
    finally:
        desk.client.config_set("maxmemory", 0)

    assert handed is None
    assert found.checker.bad_lines == 1
    assert "jobs.jsonl:1001: line: " in capsys.readouterr().err
