"""What a process that logs writes to stderr: whole lines, each JSON, whoever wrote it."""

import json
import os
import socket
import subprocess
import sys
from contextlib import suppress
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="other systems have no socket that keeps writes apart"
)

_SET_UP = """
import logging, sys, threading, warnings
import structlog
from config.logging import log_what_python_prints, setup_logging
setup_logging("INFO", ["sk-live-0123456789"])
log_what_python_prints()
"""

_LINES = """
for words in ("short", "x " * 9_000):
    structlog.get_logger().info(words)
    logging.getLogger("other").warning(words)
    logging.getLogger("runqueue.audit").info(words)
"""

_IN_A_THREAD = """
def fail():
    raise ValueError("sk-live-0123456789")
threading.Thread(target=fail, name="feeder").start()
"""

_IGNORED = """
class Odd:
    def __del__(self):
        raise ValueError("sk-live-0123456789")
Odd()
"""


def written(code: str, **environ: str) -> list[bytes]:
    """Run code in a process that logs; returns what each of its writes to stderr held."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    found = []
    with ours, theirs:
        subprocess.run(
            [sys.executable, "-c", _SET_UP + code],
            stderr=theirs.fileno(),
            env={**os.environ, **environ},
            timeout=60,
            check=False,
        )
        ours.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                found.append(ours.recv(1 << 20))
    return [write for write in found if write]


def logged(code: str) -> dict[str, Any]:
    """Run code in a process that logs, and return the one line that it logs."""
    (line,) = written(code)
    found: dict[str, Any] = json.loads(line)
    return found


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_line_is_one_write_however_long(unbuffered: str) -> None:
    writes = written(_LINES, PYTHONUNBUFFERED=unbuffered)

    assert len(writes) == 6
    for write in writes:
        assert write.endswith(b"\n")
        assert json.loads(write)["event"]


def test_a_warning_of_python_s_is_a_line() -> None:
    line = logged('warnings.warn("old:\\nuse the new one, not sk-live-0123456789")')

    assert line["level"] == "warning"
    assert "UserWarning: old:\nuse the new one, not [redacted]" in line["event"]


def test_an_error_that_nothing_caught_is_a_line_without_secrets() -> None:
    line = logged('raise ValueError("sk-live-0123456789")')

    assert (line["level"], line["event"]) == ("critical", "uncaught_error")
    assert line["exception"].endswith("ValueError: [redacted]")


def test_an_error_that_ended_a_thread_is_a_line_that_names_it() -> None:
    line = logged(_IN_A_THREAD)

    assert (line["level"], line["event"]) == ("error", "uncaught_error")
    assert line["where"] == "feeder"
    assert line["exception"].endswith("ValueError: [redacted]")


def test_an_error_that_python_ignores_is_a_line() -> None:
    line = logged(_IGNORED)

    assert (line["level"], line["event"]) == ("error", "uncaught_error")
    assert line["exception"].endswith("ValueError: [redacted]")


def test_the_words_of_an_exit_stay_as_they_are() -> None:
    assert b"".join(written('sys.exit("runqueue: no key")')) == b"runqueue: no key\n"
