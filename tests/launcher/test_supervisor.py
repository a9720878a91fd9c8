"""Child processes: how they start, what their end means, and that none outlives its parent."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launcher.supervisor import Child, Stack, StackError

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


def test_the_first_started_ends_last(tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    code = (
        "import signal, sys, time; "
        "signal.signal(signal.SIGTERM, lambda *_: (time.sleep({late}), "
        "open({ended!r}, 'a').write('{name} '), sys.exit())); print('up', flush=True)"
    )
    with Stack() as stack:
        for name, late in (("server", 0), ("worker", 0.3)):
            said = code.format(late=late, ended=str(ended), name=name)
            stack.start(child(name, said), announces=True)

    assert ended.read_text() == "worker server "


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
