"""Child processes: how they start, what their end means, and that none outlives its parent."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launcher.supervisor import Child, Stack, StackError, is_free
from launcher.supervisor import _stages as stages

_STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True)"


def child(name: str, code: str, **options: float) -> Child:
    wait = "; import time; time.sleep(60)"
    return Child(name, [sys.executable, "-c", code + wait], dict(os.environ), **options)  # type: ignore[arg-type]


def lives(process: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


def test_a_child_that_announces_is_up_when_its_first_line_is_there() -> None:
    with Stack() as stack:
        assert stack.start(child("one", "print('ready', flush=True)"), announces=True) == "ready"


def test_a_child_that_dies_before_its_first_line_is_an_error_with_its_log(tmp_path: Path) -> None:
    log = tmp_path / "one.log"
    dies = Child("one", [sys.executable, "-c", "raise SystemExit('no luck')"], os.environ, log=log)

    with pytest.raises(StackError, match=r"one did not start\n  one \| no luck"), Stack() as stack:
        stack.start(dies, announces=True)


def test_a_child_that_dies_while_it_is_watched_is_an_error() -> None:
    with Stack() as stack:
        stack.start(Child("one", [sys.executable, "-c", ""], os.environ))

        with pytest.raises(StackError, match=r"one ended \(0\)"):
            stack.watch(lambda: False, seconds=20)


def test_a_child_that_ignores_sigterm_is_killed_after_its_time() -> None:
    stubborn = child("one", _STUBBORN, stop_seconds=0.1)

    with Stack() as stack:
        stack.start(stubborn, announces=True)

    assert stubborn.ended() == -9


def test_the_last_started_ends_first_and_equals_end_together() -> None:
    names = ["server", "simulator", "worker 1", "worker 2"]
    children = [Child(name, [], {}) for name in names]

    ended = [[one.name for one in stage] for stage in stages(children)]

    assert ended == [["worker 2", "worker 1"], ["simulator"], ["server"]]


@pytest.mark.skipif(sys.platform != "linux", reason="ending with the parent is Linux's")
def test_a_child_ends_when_its_parent_is_killed() -> None:
    code = """
import os, sys, time
from launcher.supervisor import Child
sleeper = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
one = Child("one", [sys.executable, "-c", sleeper], os.environ)
print(one.start(announces=True), flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        started = int(parent.stdout.readline())
        assert lives(started)

        parent.kill()

    deadline = time.monotonic() + 20
    while lives(started):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_ports_skip_those_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, Stack() as stack:
        taken = server.getsockname()[1]

        assert taken not in stack.hold_ports(taken, 2)
        assert stack.hold_ports(0, 3) == [0, 0, 0]


def test_two_stacks_never_get_the_same_port_until_one_has_ended() -> None:
    with Stack() as one:
        held = one.hold_ports(20_000, 3)
        with Stack() as other:
            assert len({*held, *other.hold_ports(held[0], 3)}) == 6
    with Stack() as later:
        assert later.hold_ports(held[0], 1) == held[:1]


def test_a_child_can_listen_at_a_port_that_its_stack_holds() -> None:
    with Stack() as stack:
        (port,) = stack.hold_ports(20_000, 1)
        with socket.create_server(("127.0.0.1", port)):
            assert not is_free(port)
