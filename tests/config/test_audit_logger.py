"""The audit log, as programs read it: JSON wherever stderr leads, at any log level."""

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog

from config.logging import AUDIT, setup_logging
from config.redaction import REDACTED
from runqueue.store.audit import LOGGER, MOST, log_entry

KEY = "sk-live-0123456789"


class Terminal(io.StringIO):
    """Stderr of who looks at it."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(params=["INFO", "ERROR"])
def stderr(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """A terminal where logs go, at a log level."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    written = Terminal()
    monkeypatch.setattr(sys, "stderr", written)
    setup_logging(request.param, [KEY])
    yield written
    logging.getLogger(AUDIT).handlers.clear()
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_an_entry_is_one_json_object_at_a_terminal_and_at_any_level(stderr: Terminal) -> None:
    log_entry("pause_account", who="ops", account="default", target="", detail="a\ndeployment")

    (line,) = stderr.getvalue().splitlines()
    told = json.loads(line)
    assert told.pop("timestamp")
    assert told == {
        "event": "audit",
        "logger": "runqueue.audit",
        "level": "info",
        "what": "pause_account",
        "who": "ops",
        "account": "default",
        "target": "",
        "detail": "a\ndeployment",
    }


def test_an_entry_holds_no_secret_and_no_more_than_a_note(stderr: Terminal) -> None:
    log_entry("fail", who="ops", detail=f"no {KEY}, {'x' * 1000}")

    told = json.loads(stderr.getvalue())
    assert told["detail"].startswith(f"no {REDACTED}, x")
    assert len(told["detail"]) <= MOST


def test_the_logger_that_is_set_up_is_the_one_that_is_written_to() -> None:
    assert LOGGER.name == AUDIT
