"""`RemoteQueue` against answers that no gateway gives, that come late, or not at all."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from runqueue import (
    GatewayUnavailable,
    InvalidRequest,
    NotAllowed,
    QueueFull,
    QueueUnavailable,
    RunQueueError,
    TaskRunRequest,
)
from runqueue.embedded.secret_files import TOKEN_FILE
from runqueue.ids import new_id
from runqueue.problem_types import ProblemType
from runqueue.remote import connection
from runqueue.remote.queue import RemoteQueue
from runqueue.remote.results import result_rows

SECRET = "secret-token-0123"
BATCH = new_id("default")
PROBLEM = "application/problem+json"

#: Says what to answer: status, headers, body. Called with the number of the request, from 1.
Answer = Callable[[int, str], tuple[int, dict[str, str], bytes]]


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve over HTTP; yields the URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def answering(answer: Answer) -> Iterator[tuple[str, list[str]]]:
    """Serve answers; yields the URL, and the requests that came."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            asked.append(f"{self.command} {self.path}")
            status, headers, body = answer(len(asked), self.path)
            self.send_response(status)
            for name, value in {"content-length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the standard library's name

        def log_message(self, *arguments: object) -> None:
            pass

    with serving(Handler) as url:
        yield url, asked


def problem(
    kind: ProblemType | int, detail: str, retry_after: str | None = None, **members: Any
) -> tuple[int, dict[str, str], bytes]:
    """Return a problem; one of a status alone has a type that this version does not know."""
    status, uri = (kind, "about:blank") if isinstance(kind, int) else (kind.status, kind.uri)
    body = orjson.dumps({"type": uri, "status": status, "detail": detail, **members})
    later = {} if retry_after is None else {"retry-after": retry_after}
    return status, {"content-type": PROBLEM, **later}, body


def always(status: int, headers: dict[str, str], body: bytes) -> Answer:
    """Answer this, whatever is asked."""
    return lambda _, __: (status, headers, body)


def refusing(kind: ProblemType | int, detail: str, **more: Any) -> Answer:
    """Refuse, whatever is asked; arguments as of `problem`."""
    return always(*problem(kind, detail, **more))


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"null", b'{"default": 1}', b'{"default": {"states": {"odd": 1}}}'],
)
def test_an_answer_of_another_shape_is_no_gateways(body: bytes) -> None:
    with (
        answering(always(200, {}, body)) as (url, _),
        RemoteQueue(url, SECRET) as queue,
        pytest.raises(QueueUnavailable, match="none that a gateway gives"),
    ):
        queue.stats()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_parent_and_child_do_not_share_a_connection() -> None:
    ports: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            ports.append(self.client_address[1])
            self.send_response(200)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *arguments: object) -> None:
            pass

    with serving(Handler) as url, RemoteQueue(url, SECRET) as queue:
        queue.stats()
        if (child := os.fork()) == 0:
            status = 1
            try:
                status = len(queue.stats())
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        queue.stats()
    assert ports == [ports[0], ports[1], ports[0]]
    assert ports[0] != ports[1]


#: A job as a gateway shows it, and what of it may not have another type.
SHOWN = {
    "job_id": BATCH,
    "kind": "task",
    "state": "ready",
    "custom_id": None,
    "priority": "normal",
    "group": "default",
    "batch": None,
    "attempts": 1,
    "runs": 0,
    "run_id": None,
    "run_status": None,
    "created_at": "2026-01-02T03:04:05+00:00",
    "started_at": None,
    "ended_at": None,
    "webhook": {"state": "pending", "attempts": 1, "status": None, "error": None},
}


def test_what_is_shown_beside_the_fields_of_a_job_is_passed_over() -> None:
    webhook = {"state": "pending", "attempts": 1, "colour": "red"}
    body = orjson.dumps({**SHOWN, "colour": "red", "webhook": webhook})

    with answering(always(200, {}, body)) as (url, _), RemoteQueue(url, SECRET) as queue:
        assert queue.get(BATCH).webhook.attempts == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts": "1"},
        {"attempts": True},
        {"custom_id": 7},
        {"cancel_requested": "no"},
        {"created_at": 1_767_323_045},
        {"webhook": {"state": "pending", "attempts": "1"}},
        {"candidates": [{"run_id": 1}]},
    ],
    ids=str,
)
def test_a_value_of_another_type_is_converted_by_nobody(wrong: dict[str, object]) -> None:
    body = orjson.dumps({**SHOWN, **wrong})
    with (
        answering(always(200, {}, body)) as (url, _),
        RemoteQueue(url, SECRET) as queue,
        pytest.raises(QueueUnavailable, match="none that a gateway gives"),
    ):
        queue.get(BATCH)


@pytest.mark.parametrize("status", [301, 404, 418, 500])
def test_a_status_without_the_gateways_words_is_no_gateways(status: int) -> None:
    headers = {"location": "https://evil.example/"}
    with (
        answering(always(status, headers, b"<html>")) as (url, asked),
        RemoteQueue(url, SECRET) as queue,
        pytest.raises(QueueUnavailable, match=f"answered {status}, not as a gateway"),
    ):
        queue.get_batch(BATCH)
    assert len(asked) == 1


def test_a_gateway_that_says_later_is_waited_for() -> None:
    def answer(n: int, path: str) -> tuple[int, dict[str, str], bytes]:
        if n < 4:
            return problem(503 if n % 2 else 429, "busy", retry_after="0")
        return 200, {}, b'{"groups": []}'

    with answering(answer) as (url, asked), RemoteQueue(url, SECRET) as queue:
        assert queue.groups() == []
    assert len(asked) == 4


def test_later_than_there_is_patience_for_is_told_at_once() -> None:
    with (
        answering(refusing(503, "busy", retry_after="3600")) as (url, asked),
        RemoteQueue(url, SECRET, patience=5) as queue,
        pytest.raises(QueueUnavailable, match="answered 503: busy"),
    ):
        queue.groups()
    assert len(asked) == 1


def test_a_full_queue_has_its_error() -> None:
    with (
        answering(refusing(ProblemType.QUEUE_FULL, "in other words", retry_after="30")) as (url, _),
        RemoteQueue(url, SECRET, patience=1) as queue,
        pytest.raises(QueueFull),
    ):
        queue.enqueue(TaskRunRequest(prompt="x"), idempotency_key="a")


def test_an_unclear_refusal_of_a_job_without_a_key_is_not_repeated() -> None:
    with (
        answering(refusing(503, "away", retry_after="0")) as (url, asked),
        RemoteQueue(url, SECRET) as queue,
        pytest.raises(QueueUnavailable),
    ):
        queue.enqueue(TaskRunRequest(prompt="x"))
    assert len(asked) == 1


@pytest.mark.parametrize("detail", [f"not for {SECRET}", [f"not for {SECRET}"]], ids=type)
def test_a_token_that_is_said_back_is_not_shown(detail: Any) -> None:
    with (
        answering(refusing(403, detail)) as (url, _),
        RemoteQueue(url, SECRET) as queue,
        pytest.raises(NotAllowed) as refused,
    ):
        queue.groups()
    assert SECRET not in str(refused.value)
    assert "not for ***" in str(refused.value)


@pytest.mark.parametrize(
    "kind", [ProblemType.METHOD_NOT_ALLOWED, ProblemType.ADDRESS_NOT_FOUND, 404], ids=str
)
def test_a_call_that_the_gateway_does_not_know_is_told(kind: ProblemType | int) -> None:
    with (
        answering(refusing(kind, "expected POST")) as (url, _),
        RemoteQueue(url, SECRET) as queue,
        pytest.raises(QueueUnavailable, match="does not know this call"),
    ):
        queue.list_batches()


#: Answers without a type that is known, and what a client raises.
GENERAL: dict[str, tuple[tuple[int, dict[str, str], bytes], type[RunQueueError], str]] = {
    "409": (problem(409, "it expired"), RunQueueError, "^it expired$"),
    "422": (
        problem(422, "no", errors=[{"field": "a", "message": "required"}]),
        InvalidRequest,
        "^a: required$",
    ),
    "429": (problem(429, "later", "99"), GatewayUnavailable, "answered 429: later"),
    "500": (problem(500, "oh"), GatewayUnavailable, "answered 500: oh"),
    "a value is missing": (
        problem(ProblemType.BATCH_CANCELED, "it was canceled"),
        RunQueueError,
        "^it was canceled$",
    ),
    "a value is another": (
        problem(ProblemType.BATCH_MISMATCH, "others", batch_id=BATCH, expected="7"),
        RunQueueError,
        "^others$",
    ),
    "413 of a proxy": ((413, {}, b"<html>"), InvalidRequest, "^body: it is too large for"),
    "401 of a proxy": ((401, {}, b""), NotAllowed, "does not know the token"),
    "403 of a proxy": ((403, {}, b"<html>"), NotAllowed, "it does not allow that"),
    "502 of a proxy": ((502, {}, b"<html>"), GatewayUnavailable, "502, not as a gateway"),
    "503 in JSON": ((503, {}, b'{"detail": "x"}'), GatewayUnavailable, "503, not as a gateway"),
    "no object": ((409, {"content-type": PROBLEM}, b"[]"), GatewayUnavailable, "not as a gateway"),
}


@pytest.mark.parametrize("name", GENERAL)
def test_an_answer_of_no_known_type_is_what_its_status_means(name: str) -> None:
    answer, error, words = GENERAL[name]
    with (
        answering(always(*answer)) as (url, _),
        RemoteQueue(url, SECRET, patience=0) as queue,
        pytest.raises(error, match=words) as raised,
    ):
        queue.resume_batch(BATCH)
    assert type(raised.value) is error


def test_batches_are_listed_page_by_page() -> None:
    shown = {
        "batch_id": BATCH,
        "account": "default",
        "name": "prices",
        "sealed": True,
        "held": None,
        "total": 3,
        "states": {"completed": 3},
        "created_at": "2026-11-25T22:59:04.581412+00:00",
        "of_a_later_version": 1,
    }
    body = orjson.dumps({"batches": [shown], "cursor": "1 a", "unread": []})
    with answering(always(200, {}, body)) as (url, asked), RemoteQueue(url, SECRET) as queue:
        page = queue.list_batches(status="completed", cursor="2 b", limit=7)
    assert [(one.id, one.status, one.total) for one in page.batches] == [(BATCH, "completed", 3)]
    assert page.cursor == "1 a"
    (path,) = asked
    assert path.startswith("GET /v1/batches?")
    assert {"account=default", "status=completed", "cursor=2+b", "limit=7"} <= set(
        path.partition("?")[2].split("&")
    )


RESULTS = f"/v1/batches/{BATCH}/results"


def rows(*numbers: int) -> bytes:
    line = b'{"job_id":"%d","created_at":"1970-01-01T00:00:00.000007+00:00"}\n'
    return b"".join(line % number for number in numbers)


def test_an_answer_that_is_cut_is_asked_for_behind_the_last_line() -> None:
    def answer(n: int, path: str) -> tuple[int, dict[str, str], bytes]:
        if n == 1:
            return 200, {"content-length": "1000", "connection": "close"}, rows(1, 2) + b'{"job'
        return 200, {}, rows(3)

    with answering(answer) as (url, asked), RemoteQueue(url, SECRET) as queue:
        assert [row["job_id"] for row in result_rows(queue._link, RESULTS, {})] == ["1", "2", "3"]
    assert "after=2+7" in asked[1], "and that life of it"


@pytest.mark.parametrize("after", [None, "0"])
def test_results_by_filter_that_are_cut_go_on_at_the_last_end_whatever_its_job_does(
    after: str | None,
) -> None:
    """Of several jobs with that end none comes twice, and none is left out."""
    ends = [5, 4, 3, 3, 3, 2]
    lines = [
        b'{"job_id":"%d","ended_at":"2026-01-01T00:00:0%d+00:00"}\n' % (n, end)
        for n, end in enumerate(ends, 1)
    ]

    def answer(n: int, path: str) -> tuple[int, dict[str, str], bytes]:
        if n == 1:
            return 200, {"content-length": "1000", "connection": "close"}, b"".join(lines[:4])
        return 200, {}, lines[2] + lines[4] + lines[5]  # the fourth is submitted again

    with answering(answer) as (url, asked), RemoteQueue(url, SECRET) as queue:
        found = [
            row["job_id"]
            for row in result_rows(queue._link, "/v1/results", {}, after=after, by_end=True)
        ]
    assert found == ["1", "2", "3", "4", "5", "6"]
    assert "until=2026-01-01T00%3A00%3A03.000001%2B00%3A00" in asked[1]
    assert "after=" not in asked[1]


def test_an_earlier_life_behind_a_job_is_not_taken_for_the_job_once_more() -> None:
    ends = ("2026-01-02T00:00:00+00:00", "2026-01-01T00:00:00+00:00")
    lines = "".join(f'{{"job_id":"1","ended_at":"{end}"}}\n' for end in ends).encode()
    with answering(always(200, {}, lines)) as (url, _), RemoteQueue(url, SECRET) as queue:
        found = result_rows(queue._link, "/v1/results", {}, by_end=True)
        assert [row["ended_at"] for row in found] == [*ends]


def test_an_answer_that_is_cut_again_and_again_ends_in_an_error() -> None:
    def answer(n: int, path: str) -> tuple[int, dict[str, str], bytes]:
        return 200, {"content-length": "1000", "connection": "close"}, b'{"job'

    with (
        answering(answer) as (url, asked),
        RemoteQueue(url, SECRET) as queue,
        pytest.raises(QueueUnavailable, match="the results broke off"),
    ):
        list(result_rows(queue._link, RESULTS, {}))
    assert len(asked) == 3


@pytest.mark.parametrize("body", [b"<html>\n", b'{"job_id": 1}\n', b"[]\n", b'{"job_id":"1"}'])
def test_lines_that_are_none_are_no_gateways(body: bytes) -> None:
    with (
        answering(always(200, {}, body)) as (url, _),
        RemoteQueue(url, SECRET) as queue,
        pytest.raises(QueueUnavailable, match="none that a gateway gives"),
    ):
        list(result_rows(queue._link, RESULTS, {}))


def test_nobody_there_is_told_within_the_tries() -> None:
    with answering(always(200, {}, b"")) as (url, _):
        pass
    with RemoteQueue(url, SECRET) as queue:
        with pytest.raises(QueueUnavailable, match="cannot be reached") as away:
            queue.groups()
        assert url.removeprefix("http://") in str(away.value)
        assert away.value.__context__ is None


@pytest.fixture
def _token_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token of a gateway of this folder, and none that was chosen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RUNQUEUE_TOKEN", raising=False)
    TOKEN_FILE.parent.mkdir()
    TOKEN_FILE.write_text(f"{SECRET}\n")


@pytest.mark.usefixtures("_token_here")
def test_the_token_of_a_gateway_here_goes_to_this_machine_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def answer(_: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        asked.append(request.headers.get("authorization", ""))
        return httpx.Response(200, json={"groups": []})

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", answer)
    for url in ("http://localhost:8080", "https://queue.example.com", "http://127.0.0.1.evil.test"):
        with RemoteQueue(url) as queue:
            queue.groups()
    with RemoteQueue("http://127.0.0.1:8080", "") as queue:
        queue.groups()
    TOKEN_FILE.unlink()
    with RemoteQueue("http://127.0.0.1:8080") as queue:
        queue.groups()

    assert asked == [f"Bearer {SECRET}", "", "", "", ""]


@pytest.mark.usefixtures("_token_here")
def test_the_token_of_a_gateway_here_does_not_go_to_another_user_who_has_its_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listening = {4242}
    monkeypatch.setattr(connection, "users_of", lambda *_: listening)

    with answering(always(200, {}, b'{"groups": []}')) as (url, asked), RemoteQueue(url) as queue:
        with pytest.raises(QueueUnavailable, match="user 4242: the token in") as no:
            queue.groups()
        assert (asked, SECRET in str(no.value)) == ([], False)
        listening = {TOKEN_FILE.stat().st_uid}
        assert queue.groups() == []
        assert len(asked) == 1

        listening = {4242}
        monkeypatch.setenv("RUNQUEUE_TOKEN", SECRET)
        with RemoteQueue(url) as chosen:
            assert chosen.groups() == []


def test_the_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(always(200, {}, b'{"groups": []}')) as (url, _):
        monkeypatch.setenv("RUNQUEUE_URL", url)
        monkeypatch.setenv("RUNQUEUE_TOKEN", SECRET)
        with RemoteQueue() as queue:
            assert queue.groups() == []
    monkeypatch.delenv("RUNQUEUE_URL")
    with pytest.raises(InvalidRequest, match="RUNQUEUE_URL"):
        RemoteQueue()
