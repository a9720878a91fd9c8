"""A results file whose writing is cut off, by whatever it is: no half file looks whole."""

from __future__ import annotations

import signal
import threading
from typing import Any

import pytest

from lab.proxy import Network
from runqueue.producer.queue import RunQueue
from tests.runqueue.cli.commanding import Desk, batch_of, lines
from tests.runqueue.cli.exporting import command, keys_of, over, room_for
from tests.runqueue.cli.gateways import by_http

NAMES = ["out.jsonl", "out.csv", "out.jsonl.gz", "out.parquet"]


@pytest.mark.parametrize("name", NAMES)
def test_no_room_leaves_the_file_as_it_was(either: Desk, name: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    batch = over(either, 40)
    out = either.folder / name
    out.write_text("of before\n")

    with room_for(200):
        result = either.run("results", batch, "-o", str(out))

    assert result.exit_code == 1
    assert f"cannot write results to {out}: File too large" in result.stderr
    assert out.read_text() == "of before\n"
    assert [path.name for path in either.folder.glob("out*")] == [name]
    assert either.run("results", batch, "-o", str(out)).exit_code == 0
    assert out.stat().st_size > 200


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl"])
def test_a_process_that_is_killed_leaves_no_file_that_looks_whole(desk: Desk, name: str) -> None:
    batch = over(desk, 3000)
    out = desk.folder / name
    with command(desk, "results", batch, "-o", str(out)) as process:
        while process.poll() is None:
            if any(part.stat().st_size for part in desk.folder.glob(f"{name}.*.part")):
                process.send_signal(signal.SIGKILL)
                break
        process.communicate()

    assert process.returncode == -signal.SIGKILL
    assert not out.exists()
    assert desk.run("results", batch, "-o", str(out)).exit_code == 0
    assert len(out.read_text().splitlines()) == 3000 + (name == "out.csv")


@pytest.mark.parametrize(
    ("rest", "said"),
    [(20, "20 of 30 jobs had not ended"), (0, "jobs were submitted again while they were read")],
)
def test_jobs_that_are_done_again_under_the_reading_are_told(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, rest: int, said: str
) -> None:
    batch = batch_of(desk, *lines(30))
    desk.end(desk.claim(), "failed")
    out = desk.folder / "out.jsonl"
    read = RunQueue.iter_results

    def retried(queue: RunQueue, *given: Any, **options: Any) -> Any:
        queue.retry_failed(batch)
        desk.end(desk.claim()[rest:], runs_are="again")
        return read(queue, *given, **options)

    monkeypatch.setattr(RunQueue, "iter_results", retried)
    result = desk.run("results", batch, "-o", str(out))

    assert result.exit_code == 1
    assert said in result.stderr
    assert len(keys_of(out)) == 30 - rest


# The way to the gateway.


def test_a_connection_that_breaks_is_made_again_and_goes_on(desk: Desk, gateway_url: str) -> None:
    batch = over(desk, 600)
    whole = desk.run("results", batch).stdout_bytes
    host, port = gateway_url.removeprefix("http://").split(":")
    with Network() as network:
        proxy = network.proxy(host, int(port))
        proxy.down.cut_after = len(whole) // 3
        out = desk.folder / "out.jsonl"
        remote = by_http(desk, f"http://127.0.0.1:{proxy.port}")
        result = remote.run("results", batch, "-o", str(out))
        assert proxy.down.met > 1
    assert result.exit_code == 0, result.stderr
    assert out.read_bytes() == whole


def test_a_gateway_that_is_gone_leaves_no_file(desk: Desk, gateway_url: str) -> None:
    batch = over(desk, 600)
    whole = desk.run("results", batch).stdout_bytes
    host, port = gateway_url.removeprefix("http://").split(":")
    with Network() as network:
        proxy = network.proxy(host, int(port))
        out = desk.folder / "out.jsonl"
        remote = by_http(desk, f"http://127.0.0.1:{proxy.port}")
        proxy.down.cut_after = len(whole) // 2
        trap = proxy.trap("up", b"after=", times=0)

        def refuse() -> None:
            trap.wait(30)
            proxy.refuse()
            trap.drop()

        thread = threading.Thread(target=refuse)
        thread.start()
        result = remote.run("results", batch, "-o", str(out))
        thread.join()
        assert result.exit_code == 4
        assert not list(desk.folder.glob("out*"))
        proxy.heal()
        proxy.down.cut_after = None
        again = remote.run("results", batch, "-o", str(out))
    assert again.exit_code == 0, again.stderr
    assert out.read_bytes() == whole
