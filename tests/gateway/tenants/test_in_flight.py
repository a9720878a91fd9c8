"""What one token may have in flight, what others see of it, and that all of it is given back."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from gateway.http import counting
from gateway.tenants import in_flight
from gateway.tenants.in_flight import InFlight, RequestShare
from runqueue import AsyncRunQueue, RunQueue
from runqueue.records.batch import JobPage
from runqueue.store import delivery_calls, job_calls
from runqueue.store.keys import ACCOUNTS
from runqueue.store.scripts import library
from tests.gateway.gating import Desk, Door, address, bearer, gating, signed, token, told
from tests.gateway.uploads import PATH, lines, send, text
from tests.simulator.simulating import eventually

MEBIBYTE = 1024 * 1024
#: Bytes of a result; the answer has it twice, which is more than the system holds unread.
SIZE = 7 * MEBIBYTE
ANSWER = 2 * SIZE
JOB = {"kind": "task", "body": {"prompt": "Read it."}}
LARGE = {"kind": "task", "body": {"prompt": "x" * 900_000}}
TOKENS = (
    token("acme", "a", "enqueue", "read", "operate"),
    token("beta", "b", "enqueue", "read", "operate"),
)
ACME, BETA = bearer("a"), bearer("b")


@asynccontextmanager
async def gate(url: str) -> AsyncIterator[Door]:
    """A gateway of two tokens, of which the first has nothing in flight at the end."""
    async with gating(url, api_tokens=TOKENS) as door:
        yield door
        await eventually(lambda: nothing(door))


def nothing(door: Door) -> bool:
    """Whether the first token has nothing in flight, and holds nothing."""
    acme = door.in_flight("acme")
    return (acme.requests, acme.size, acme.work.locked()) == (0, 0, False)


@asynccontextmanager
async def unread(door: Door, raw: bytes) -> AsyncIterator[socket.socket]:
    """A connection on which something was sent, and of which nothing is read by itself."""
    host, port = door.url.removeprefix("http://").split(":")
    with socket.socket() as one:
        one.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(one, (host, int(port)))
        await loop.sock_sendall(one, raw)
        yield one


def head(start: str, *headers: str) -> bytes:
    """The head of a request of the first token's."""
    every = ("host: g", f"authorization: {ACME['authorization']}", *headers)
    return "\r\n".join([f"{start} HTTP/1.1", *every, "", ""]).encode()


def half(path: str, kind: str, length: int, part: bytes) -> bytes:
    """A request whose body does not come whole."""
    return head(f"POST {path}", f"content-type: {kind}", f"content-length: {length}") + part


BULK = half("/v1/jobs:bulk", "application/json", 2 * MEBIBYTE, b" " * MEBIBYTE)
UPLOAD = half(PATH, "application/x-ndjson", 2 * MEBIBYTE, text(lines(1)))


async def test_a_request_counts_once_and_gives_back_all_that_it_took() -> None:
    holder, taken = InFlight(), RequestShare()
    await taken.begin(holder)
    await taken.begin(holder)
    taken.take(10)
    assert taken.takes(in_flight.BYTES, always=True)
    assert (holder.requests, holder.size) == (1, in_flight.BYTES + 10)

    taken.give_back()
    taken.give_back()

    assert (holder.requests, holder.size) == (0, 0)


async def test_requests_beyond_a_token_s_limit_are_refused_and_all_others_are_answered(
    desk: Desk, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_flight, "REQUESTS", 2)
    (job,) = desk.running()
    path = f"/v1/jobs/{job.job_id}?wait=60"

    async with gate(redis_url) as door:
        waiting = [asyncio.create_task(door.ask("GET", path, headers=ACME)) for _ in range(3)]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        (refused,) = [task.result() for task in waiting if task.done()]

        assert (refused.status, refused.headers["retry-after"]) == (429, "1")
        assert refused.body["detail"].startswith("expected at most 2 requests of one token")
        assert (await door.ask("GET", "/v1/stats", headers=BETA)).status == 200
        assert (await door.ask("GET", "/healthz")).status == 200
        assert (await door.webhook(job, told(job))).verdict == "ended"
        assert sorted([(await task).status for task in waiting]) == [200, 200, 429]
        assert (await door.ask("GET", path, headers=ACME)).status == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/accounts/default/pause"), ("POST", f"/v1/jobs/{'a' * 24}/cancel")],
)
async def test_an_operators_call_beyond_the_limit_is_not_noted(
    queue: RunQueue, redis_url: str, monkeypatch: pytest.MonkeyPatch, method: str, path: str
) -> None:
    monkeypatch.setattr(in_flight, "REQUESTS", 0)

    async with gate(redis_url) as door:
        refused = await door.ask(method, path, {}, ACME)

    assert refused.status == 429
    assert queue.audit() == []


async def test_bodies_of_one_token_that_stand_still_leave_others_theirs(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_flight, "BYTES", 3 * MEBIBYTE)

    async with gate(redis_url) as door, AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(unread(door, BULK))
        await eventually(lambda: door.in_flight("acme").size > 2.5 * MEBIBYTE)

        refused = await door.ask("POST", "/v1/jobs", LARGE, ACME)
        words = "expected at most 3 MiB of bodies and answers of one token in flight"
        assert (refused.status, refused.body["detail"].startswith(words)) == (429, True)
        assert (await door.ask("POST", "/v1/jobs", JOB, ACME)).status == 202
        assert (await door.ask("POST", "/v1/jobs", LARGE, BETA)).status == 202


async def test_uploads_of_one_token_leave_others_theirs(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_flight, "BYTES", 2 * in_flight.STREAM)

    async with gate(redis_url) as door, AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(unread(door, UPLOAD))
        await eventually(lambda: door.in_flight("acme").size == 2 * in_flight.STREAM)

        assert (await send(door, lines(1), **BETA)).status == 201
        assert (await send(door, lines(1), **ACME)).status == 429


async def test_each_stream_of_results_gives_its_room_back(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_flight, "BYTES", in_flight.STREAM)

    async with gate(redis_url) as door:
        batch = (await send(door, lines(1), **ACME)).body["batch_id"]
        path = f"/v1/batches/{batch}/results"
        for _ in range(3):
            assert (await door.ask("GET", path, headers=ACME)).status == 200
        async with unread(door, UPLOAD):
            await eventually(lambda: door.in_flight("acme").size == in_flight.STREAM)
            assert (await door.ask("GET", path, headers=ACME)).status == 429


@pytest.mark.parametrize(
    "raw",
    [
        lambda _: BULK,
        lambda _: UPLOAD,
        lambda _: head("GET /v1/events"),
        lambda job: head(f"GET /v1/jobs/{job}?wait=60"),
        lambda _: head("POST /v1/jobs", "content-type: application/json", "content-length: 9"),
    ],
    ids=["array", "upload", "events", "wait", "job"],
)
async def test_a_client_that_goes_away_in_the_middle_has_nothing_in_flight(
    desk: Desk, redis_url: str, raw: Callable[[str], bytes]
) -> None:
    (job,) = desk.running()

    async with gate(redis_url) as door, unread(door, raw(job.job_id)):
        await eventually(lambda: door.in_flight("acme").requests == 1)


async def test_a_request_that_breaks_off_has_nothing_in_flight(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ValueError("mine")

    monkeypatch.setattr("gateway.api.submit.read_jobs", broken)
    async with gate(redis_url) as door:
        answer = await door.ask("POST", "/v1/jobs:bulk", [LARGE], ACME)

    assert answer.status == 500


async def test_a_gateway_that_ends_has_nothing_in_flight(redis_url: str) -> None:
    async with gating(redis_url, api_tokens=TOKENS, drain_seconds=1) as door, AsyncExitStack() as s:
        for raw in (BULK, UPLOAD, head("GET /v1/events")):
            await s.enter_async_context(unread(door, raw))
        await eventually(lambda: door.in_flight("acme").requests == 3)
        door.server.should_exit = True
        await eventually(lambda: nothing(door), seconds=15)


async def large(desk: Desk, door: Door) -> str:
    """The path of a large answer."""
    (job,) = desk.running()
    await door.webhook(job, told(job, output="x" * SIZE))
    return f"/v1/jobs/{job.job_id}"


async def test_large_answers_that_one_token_does_not_read_leave_others_theirs(
    desk: Desk, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_flight, "BYTES", ANSWER + MEBIBYTE + in_flight.LARGEST)

    async with gate(redis_url) as door, AsyncExitStack() as stack:
        path = await large(desk, door)
        for _ in range(2):
            await stack.enter_async_context(unread(door, head(f"GET {path}")))
        await eventually(lambda: door.in_flight("acme").size > 2 * ANSWER)

        refused = await door.ask("GET", path, headers=ACME)
        assert (refused.status, refused.headers["retry-after"]) == (429, "1")
        assert (await door.ask("GET", f"{path}?result=false", headers=ACME)).status == 200
        assert (await door.ask("GET", path, headers=BETA)).status == 200

        await stack.aclose()  # they have gone
        await eventually(lambda: nothing(door))
        assert (await door.ask("GET", path, headers=ACME)).status == 200


async def test_an_answer_for_which_there_is_no_room_is_not_sent(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gate(redis_url) as door:
        assert (await send(door, lines(500), **ACME)).status == 201
        monkeypatch.setattr(in_flight, "BYTES", in_flight.SMALL)
        refused = await door.ask("GET", "/v1/jobs?limit=500", headers=ACME)
        few = await door.ask("GET", "/v1/jobs?limit=10", headers=ACME)

    words = "expected at most 64 KiB of bodies and answers of one token in flight"
    assert (refused.status, refused.body["detail"].startswith(words)) == (429, True)
    assert (few.status, len(few.body["jobs"])) == (200, 10)


async def test_of_many_requests_of_a_token_one_begins_in_a_turn_of_the_event_loop() -> None:
    holder = InFlight()
    begun: list[RequestShare] = []

    async def begin() -> None:
        taken = RequestShare()
        await taken.begin(holder)
        begun.append(taken)

    tasks = [asyncio.create_task(begin()) for _ in range(20)]
    counts = [0]
    while len(begun) < 20:
        await asyncio.sleep(0)
        counts.append(len(begun))
    await asyncio.gather(*tasks)

    assert max(after - before for before, after in pairwise(counts)) == 1


async def test_the_server_holds_little_of_an_answer_that_nobody_reads(
    desk: Desk, redis_url: str
) -> None:
    async with gate(redis_url) as door:
        path = await large(desk, door)
        await door.session.close()
        async with unread(door, head(f"GET {path}")):
            await eventually(lambda: door.in_flight("acme").size > ANSWER)
            (connection,) = door.server.server_state.connections
            await eventually(lambda: connection.flow.write_paused)  # type: ignore[union-attr]

            assert connection.transport.get_write_buffer_size() < 4 * counting.PIECE


async def test_a_slow_reader_gets_all_of_an_answer(desk: Desk, redis_url: str) -> None:
    async with gate(redis_url) as door:
        path = await large(desk, door)
        size = 0
        async with unread(door, head(f"GET {path}")) as one:
            while size < ANSWER:
                part = await asyncio.get_running_loop().sock_recv(one, MEBIBYTE)
                assert part
                size += len(part)
                await asyncio.sleep(0.005)  # its pace


async def test_an_array_whose_answer_has_no_room_is_refused_before_its_jobs_are_stored(
    queue: RunQueue, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = json.dumps([JOB] * 1_000).encode()

    async with gate(redis_url) as door:
        monkeypatch.setattr(in_flight, "BYTES", len(jobs))
        refused = await door.ask("POST", "/v1/jobs:bulk", jobs, ACME)
        monkeypatch.undo()
        again = await door.ask("POST", "/v1/jobs:bulk", jobs, ACME)

    assert (refused.status, again.status) == (429, 202)
    assert queue.stats()["default"].totals["enqueued"] == 1_000


async def test_lists_of_one_token_are_made_one_at_a_time_and_leave_another_its_own(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = asyncio.Event()
    under_way: list[str] = []
    list_jobs = AsyncRunQueue.list_jobs

    async def slow(queue: AsyncRunQueue, *args: Any, **wanted: Any) -> JobPage:
        if wanted["limit"] == 1_000:
            under_way.append("greedy")
            await go_on.wait()
        return await list_jobs(queue, *args, **wanted)

    monkeypatch.setattr(AsyncRunQueue, "list_jobs", slow)
    async with gate(redis_url) as door:
        path = "/v1/jobs?limit=1000"
        greedy = [asyncio.create_task(door.ask("GET", path, headers=ACME)) for _ in range(12)]
        await eventually(lambda: door.in_flight("acme").requests == 12)
        for other in ("/v1/jobs", "/v1/batches", "/v1/groups", "/v1/audit"):
            assert (await door.ask("GET", other, headers=BETA)).status == 200
        assert len(under_way) == 1
        go_on.set()
        answers = await asyncio.gather(*greedy)

    assert [one.status for one in answers] == [200] * 12


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/jobs", None),
        ("GET", f"/v1/jobs/{'a' * 24}", None),
        ("POST", "/v1/jobs:bulk", [JOB]),
        ("POST", "/v1/jobs", LARGE),
    ],
    ids=["list", "result", "array", "large job"],
)
async def test_work_that_waits_too_long_for_other_work_of_its_token_is_refused(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, method: str, path: str, body: Any
) -> None:
    async with gate(redis_url) as door:
        monkeypatch.setattr(counting, "WORK_SECONDS", 0.05)
        async with door.in_flight("acme").work:
            refused = await door.ask(method, path, body, ACME)
        monkeypatch.undo()
        again = await door.ask(method, path, body, ACME)

    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    assert again.status in {200, 202, 404}


async def test_webhooks_of_one_account_that_stand_still_leave_others_theirs(
    desk: Desk, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_flight, "BYTES", MEBIBYTE)
    desk.client.sadd(ACCOUNTS, "acme")
    (mine,) = desk.running()
    (theirs,) = desk.queue.enqueue_many([{**JOB, "account": "acme"}])
    (other,) = [job for job in desk.claim("acme") if job.job_id == theirs.job_id]
    accounts = {"acme": {"api_key": "sk-acme"}}
    stalled = f"POST {address(mine)} HTTP/1.1\r\nhost: g\r\ncontent-length: {2 * MEBIBYTE}\r\n\r\n"
    whole = json.dumps(told(mine, output="x" * 600_000)).encode()

    async with gating(redis_url, api_tokens=TOKENS, accounts=accounts) as door:
        async with unread(door, stalled.encode() + b" " * (MEBIBYTE // 2)):
            held = door.server._gate.receiver._bodies._in_flight["default"]
            await eventually(lambda: held.size >= MEBIBYTE // 2)
            busy = await door.webhook(mine, whole)
            answer = await door.ask(
                "POST", address(other, "acme", "sk-acme"), whole, signed(whole, "sk-acme")
            )
        await eventually(lambda: held.size == 0)  # it has gone
        later = await door.webhook(mine, whole)

    assert busy.status == 503  # so Skyvern sends it again
    assert answer.status == 409  # it is read: the run is another job's
    assert later.verdict == "ended"


async def test_scrapes_at_once_are_one_and_count_as_those_of_the_scrape_token(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_flight, "REQUESTS", 2)
    go_on = threading.Event()
    scraped: list[str] = []

    def slow(_: object) -> bytes:
        scraped.append(threading.current_thread().name)
        go_on.wait(30)
        return b"runqueue_up 1.0\n"

    monkeypatch.setattr("gateway.state.state.generate_latest", slow)
    file = tmp_path / "scrape-token"
    async with gating(redis_url, api_tokens=TOKENS, scrape_token_file=file) as door:
        own = bearer(file.read_text().strip())
        scrapes = [
            asyncio.create_task(door.ask("GET", "/metrics/queue", headers=own)) for _ in range(6)
        ]
        await eventually(lambda: sum(task.done() for task in scrapes) >= 4)
        refused = [task.result().status for task in scrapes if task.done()]
        scrapes.append(asyncio.create_task(door.ask("GET", "/metrics/queue", headers=BETA)))
        await eventually(lambda: door.in_flight("beta").requests == 1)
        assert (await door.ask("GET", "/v1/stats", headers=BETA)).status == 200
        go_on.set()
        answers = await asyncio.gather(*scrapes)

    assert refused == [429] * 4
    assert [one.body for one in answers if one.status == 200] == [b"runqueue_up 1.0\n"] * 3
    assert len(scraped) == 1


async def test_a_gateway_that_serves_opens_no_file_for_a_script_any_more(redis_url: str) -> None:
    library.cache_clear()
    async with gate(redis_url):
        before = library.cache_info().misses
        job_calls.get_batch("default", "a" * 24)
        delivery_calls.confirm_delivery("default", ["a" * 24])
        after = library.cache_info().misses

    assert after == before
