"""Uploads by `RemoteQueue` where something between it and the gateway limits, refuses or logs."""

from __future__ import annotations

import gzip
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import orjson
import pytest

from runqueue import (
    BatchExpired,
    BatchNotFound,
    BatchRules,
    InvalidBatch,
    QueueUnavailable,
    RunQueueError,
)
from runqueue.problem_types import ProblemType
from runqueue.remote.queue import RemoteQueue
from runqueue.store.keys import Keys
from tests.either import TOKEN
from tests.runqueue.cli.commanding import Desk, line
from tests.runqueue.remote.test_connection import BATCH, answering, problem, serving

COUNT = 5_000
SECRET = "very-secret-0123"
CALLBACK = BatchRules(callback_url=f"https://user.test/größe?token={SECRET}")


@contextmanager
def limiting(enough: int) -> Iterator[tuple[str, list[bytes]]]:
    """Answer the first upload with a 429 after so many bytes, and accept the next.

    Yields the URL, and the bodies that came.
    """
    bodies: list[bytes] = []
    told = {
        "batch_id": BATCH,
        "counts": {"new": COUNT, "known": 0, "invalid": 0, "conflicts": 0},
        "errors": [],
        "conflicts": [],
    }

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            is_first = not bodies
            bodies.append(self.read(enough if is_first else None))
            said = b"" if is_first else orjson.dumps(told)
            self.send_response(429 if is_first else 201)
            self.send_header("retry-after", "0")
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)
            self.close_connection = True

        def read(self, enough: int | None) -> bytes:
            """Read the chunks of a body: all of them, or until it is enough."""
            body = b""
            while size := int(self.rfile.readline() or b"0", 16):
                body += self.rfile.read(size)
                self.rfile.readline()
                if enough is not None and len(body) >= enough:
                    break
            return body

        def log_message(self, *arguments: object) -> None:
            pass

    with serving(Handler) as url:
        yield url, bodies


#: Without names, and such as hardly can be packed.
LINES = [
    b'{"kind":"task","body":{"prompt":"%s"}}' % os.urandom(60).hex().encode() for _ in range(COUNT)
]


def test_lines_that_can_be_gone_through_once_are_never_accepted_in_part() -> None:
    with (
        limiting(64 * 1024) as (url, bodies),
        RemoteQueue(url) as queue,
        pytest.raises(QueueUnavailable, match="429"),
    ):
        queue.upload(iter(LINES))
    assert len(bodies) == 1


def test_lines_that_can_be_gone_through_again_are_sent_again_after_a_429() -> None:
    with limiting(64 * 1024) as (url, bodies), RemoteQueue(url) as queue:
        assert queue.upload(LINES).new == COUNT
    assert gzip.decompress(bodies[1]).splitlines() == LINES


def test_no_log_has_the_url_of_a_callback(
    desk: Desk, gateway_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with RemoteQueue(gateway_url, TOKEN) as queue:
        batch = queue.upload([orjson.dumps(line("a"))], rules=CALLBACK).batch_id
    assert SECRET not in caplog.text
    stored = desk.client.hget(f"{Keys('default').prefix}batch:{batch}", "callback_url")
    assert stored == (CALLBACK.callback_url or "").encode()


def test_a_callback_that_no_header_takes_is_not_shown() -> None:
    rules = BatchRules(callback_url=f"https://user.test/\x7f{SECRET}")
    with (
        answering(lambda *_: (200, {}, b"{}")) as (url, asked),
        RemoteQueue(url) as queue,
        pytest.raises(InvalidBatch, match="callback_url: expected") as caught,
    ):
        queue.upload([b"{}"], rules=rules)
    assert SECRET not in str(caught.value)
    assert asked == []


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (ProblemType.BATCH_EXPIRED, BatchExpired(BATCH)),
        (ProblemType.UPLOAD_DISCARDED, BatchNotFound(BATCH)),
    ],
    ids=["expired", "discarded"],
)
def test_why_an_upload_was_not_accepted_is_its_error(
    kind: ProblemType, error: RunQueueError
) -> None:
    with (
        answering(lambda _, __: problem(kind, "whatever", batch_id=BATCH)) as (url, _),
        RemoteQueue(url) as queue,
        pytest.raises(type(error)) as raised,
    ):
        queue.upload([])
    assert str(raised.value) == str(error)
