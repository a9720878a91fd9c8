"""A results file whose writing was cut off, by whatever it was, goes on where it was."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path

import pytest

from lab.proxy import Network
from runqueue.cli.results.partial_file import Of, Part
from tests.runqueue.cli.commanding import Desk, batch_of, line, lines
from tests.runqueue.cli.exporting import command, cut_off, keys_of, over, room_for, rows_of
from tests.runqueue.cli.gateways import by_http

COUNT = 40


@pytest.fixture
def batch(desk: Desk) -> str:
    """A batch that is over."""
    return over(desk, COUNT)


@pytest.fixture
def whole(desk: Desk, batch: str) -> bytes:
    """Its results."""
    return desk.run("results", batch).stdout_bytes


def half_written(folder: Path, batch: str, text: bytes) -> Path:
    """Leave what a process leaves that was killed; returns the file it was to be."""
    (folder / "out.jsonl.part").write_bytes(text)
    said = {"batch": batch, "what": "results"}
    (folder / "out.jsonl.part.json").write_text(json.dumps(said))
    return folder / "out.jsonl"


def test_no_room_leaves_whole_lines_and_says_how_to_go_on(either: Desk) -> None:
    batch = over(either, COUNT)
    out = either.folder / "out.jsonl"
    out.write_text("of before\n")
    whole = either.run("results", batch).stdout_bytes

    with room_for(len(whole) * 2 // 3):
        result = either.run("results", batch, "-o", str(out))

    part = (either.folder / "out.jsonl.part").read_bytes()
    done = len(rows_of(part))
    assert 0 < done < COUNT
    assert whole.startswith(part)
    assert out.read_text() == "of before\n"
    assert result.exit_code == 1
    assert "File too large" in result.stderr
    assert f"{done} jobs are in {out}.part: give the same command again" in result.stderr

    again = either.run("results", batch, "-o", str(out))

    assert again.exit_code == 0
    assert f"{done} jobs are in {out}.part: continuing after them" in again.stderr
    assert again.stdout == f"{COUNT} jobs written to {out}\n"
    assert out.read_bytes() == whole
    assert [path.name for path in either.folder.glob("out*")] == ["out.jsonl"]


@pytest.mark.parametrize("share", [0.0, 0.001, 0.2, 0.5, 0.77, 0.999, 1.0])
def test_a_part_that_was_cut_at_any_byte_goes_on(
    either: Desk, batch: str, whole: bytes, share: float
) -> None:
    out = half_written(either.folder, batch, whole[: int(len(whole) * share)])
    assert either.run("results", batch, "-o", str(out)).exit_code == 0
    assert out.read_bytes() == whole


@pytest.mark.parametrize("rubbish", [b"\0" * 4096, b"\0\n", b"[]\n", b'{"job_id": "x"}\n'])
def test_what_a_crash_of_the_machine_left_is_cut_off(
    desk: Desk, batch: str, whole: bytes, rubbish: bytes
) -> None:
    begun = b"".join(whole.splitlines(keepends=True)[:7])
    out = half_written(desk.folder, batch, begun + rubbish)
    result = desk.run("results", batch, "-o", str(out))
    assert "7 jobs are in" in result.stderr
    assert out.read_bytes() == whole


@pytest.mark.parametrize(
    "name",
    [
        "out.csv",
        pytest.param("out.jsonl", marks=pytest.mark.slow),
        pytest.param("out.jsonl.gz", marks=pytest.mark.slow),
    ],
)
def test_a_process_that_is_killed_again_and_again_gets_there(desk: Desk, name: str) -> None:
    batch = over(desk, 3000)
    out, part = desk.folder / name, desk.folder / f"{name}.part"
    desk.run("results", batch, "-o", str(desk.folder / f"whole-{name}"))
    sizes: list[int] = []
    for _ in range(3):
        process = command(desk, "results", batch, "-o", str(out))
        size = sizes[-1] if sizes else 0
        while process.poll() is None and not out.exists():
            if part.exists() and part.stat().st_size > size:
                process.send_signal(signal.SIGKILL)
                break
        process.communicate()
        if out.exists():
            break
        sizes.append(part.stat().st_size)
        rest = part.read_bytes()
        assert len(rows_of(rest[: rest.rfind(b"\n") + 1])) <= 3000

    assert desk.run("results", batch, "-o", str(out)).exit_code == 0
    assert out.read_bytes() == (desk.folder / f"whole-{name}").read_bytes()


def test_two_processes_do_not_write_one_file(desk: Desk, batch: str, whole: bytes) -> None:
    out = half_written(desk.folder, batch, whole[:3000])
    with Part(out, Of(batch, "results")) as part:
        result = desk.run("results", batch, "-o", str(out))
        assert result.exit_code == 1
        assert f"another process writes {part.path}" in result.stderr
        assert not out.exists()
    assert desk.run("results", batch, "-o", str(out)).exit_code == 0
    assert out.read_bytes() == whole


# The same batch, selection and order.


def test_a_part_of_another_batch_is_kept_and_told(desk: Desk, batch: str, whole: bytes) -> None:
    out = half_written(desk.folder, batch, whole[:3000])
    other = batch_of(desk, line("another"))
    desk.end(desk.claim())

    result = desk.run("results", other, "-o", str(out))

    assert result.exit_code == 2
    assert f"is a part of the results of batch {batch}" in result.stderr
    assert desk.run("results", other, "-o", str(out), "--anew").exit_code == 0
    assert len(rows_of(out.read_bytes())) == 1


def test_errors_do_not_go_on_with_a_part_of_results(desk: Desk, batch: str, whole: bytes) -> None:
    out = half_written(desk.folder, batch, whole[:3000])
    assert desk.run("errors", batch, "-o", str(out)).exit_code == 2
    assert desk.run("results", batch, "-o", str(out)).exit_code == 0
    assert out.read_bytes() == whole


def test_a_part_of_which_nothing_is_known_is_begun_anew(
    desk: Desk, batch: str, whole: bytes
) -> None:
    (desk.folder / "out.jsonl.part").write_text("of somebody else\n")
    out = desk.folder / "out.jsonl"
    assert desk.run("results", batch, "-o", str(out)).exit_code == 0
    assert out.read_bytes() == whole


def test_what_ended_since_gets_its_place_in_the_order(either: Desk) -> None:
    batch = batch_of(either, *lines(5))
    jobs = either.claim()
    either.end([jobs[0], jobs[2], jobs[3]])
    sizes = [len(row) for row in either.run("results", batch).stdout_bytes.splitlines(True)]
    out = either.folder / "out.jsonl"
    part = cut_off(either, batch, out, sum(sizes[:2]) + 5)
    assert keys_of(part) == ["order-0", "order-2"]
    either.end([jobs[1], jobs[4]])

    assert either.run("results", batch, "-o", str(out)).exit_code == 0

    assert keys_of(out) == [f"order-{n}" for n in range(5)]


def test_what_has_not_ended_yet_is_no_reason_to_begin_anew(either: Desk) -> None:
    batch = batch_of(either, *lines(5))
    jobs = either.claim()
    either.end([jobs[0], jobs[2], jobs[3]])
    sizes = [len(row) for row in either.run("results", batch).stdout_bytes.splitlines(True)]
    out = either.folder / "out.jsonl"
    cut_off(either, batch, out, sum(sizes[:2]) + 5)

    result = either.run("results", batch, "-o", str(out))

    assert "2 jobs are in" in result.stderr
    assert result.exit_code == 1
    assert keys_of(out) == ["order-0", "order-2", "order-3"]


def test_a_line_whose_job_is_done_again_is_taken_out(either: Desk) -> None:
    batch = batch_of(either, *lines(3))
    jobs = either.claim()
    either.end([jobs[0]], "failed")
    either.end(jobs[1:])
    sizes = [len(row) for row in either.run("results", batch).stdout_bytes.splitlines(True)]
    out = either.folder / "out.jsonl"
    cut_off(either, batch, out, sizes[0] + 5)
    either.queue.replay([jobs[0].job_id])

    result = either.run("results", batch, "-o", str(out))

    assert result.exit_code == 1
    assert f"{out}.part: the last line will be written anew" in result.stderr
    assert [row["state"] for row in rows_of(out.read_bytes())] == ["completed", "completed"]


def test_no_line_of_before_a_retry_stays(either: Desk) -> None:
    batch = batch_of(either, *lines(COUNT))
    either.end(either.claim(), "failed")
    whole = either.run("results", batch).stdout_bytes
    out = either.folder / "out.jsonl"
    cut_off(either, batch, out, len(whole) // 2)
    assert either.queue.retry_failed(batch).jobs == COUNT
    either.end(either.claim(), runs_are="again")

    result = either.run("results", batch, "-o", str(out))

    assert result.exit_code == 0, result.output
    assert "lines will be written anew: a job was submitted again" in result.stderr
    assert {row["state"] for row in rows_of(out.read_bytes())} == {"completed"}
    assert len(keys_of(out)) == COUNT


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


def test_a_gateway_that_is_gone_leaves_a_part_that_goes_on(desk: Desk, gateway_url: str) -> None:
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
        assert f"are in {out}.part: give the same command again" in result.stderr
        done = len(rows_of((desk.folder / "out.jsonl.part").read_bytes()))
        assert 0 < done < 600
        proxy.heal()
        proxy.down.cut_after = None
        again = remote.run("results", batch, "-o", str(out))
    assert again.exit_code == 0, again.stderr
    assert f"{done} jobs are in" in again.stderr
    assert out.read_bytes() == whole
