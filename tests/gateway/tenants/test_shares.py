"""What one token, one account or nobody takes of a gateway leaves others their share."""

from __future__ import annotations

import asyncio
import resource
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from gateway.api import submit
from gateway.checks.processes import MAX_CHECKS
from gateway.http import connections, request_body
from gateway.state import state
from gateway.tenants import shares
from gateway.tenants.shares import Shares
from gateway.webhooks import payload
from runqueue import AsyncRunQueue, RunQueue
from runqueue.records.batch import JobPage
from runqueue.store import delivery_calls, job_calls
from runqueue.store.keys import ACCOUNTS
from runqueue.store.scripts import library
from tests.gateway.browsing import browsing
from tests.gateway.gating import Answer, Desk, Door, address, bearer, gating, signed, token, told
from tests.gateway.uploads import lines, send, text
from tests.simulator.simulating import eventually, receiving

JOB = {"kind": "task", "body": {"prompt": "Read it."}}
TOKENS = (
    token("acme", "a", "enqueue", "read", "operate"),
    token("beta", "b", "enqueue", "read", "operate"),
)


@asynccontextmanager
async def gate(url: str) -> AsyncIterator[Door]:
    """A gateway of two tokens."""
    async with gating(url, api_tokens=TOKENS) as door:
        yield door


@asynccontextmanager
async def sending(
    door: Door, start: str, secret: str = "", part: bytes = b""
) -> AsyncIterator[asyncio.StreamReader]:
    """Send a head, and a part of its body or nothing; yields what the answer is read from."""
    host, port = door.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    who = f"authorization: Bearer {secret}\r\n" if secret else ""
    writer.write(f"{start} HTTP/1.1\r\nhost: g\r\n{who}".encode() + part)
    try:
        await writer.drain()
        yield reader
    finally:
        writer.close()


def body(length: int, part: bytes) -> bytes:
    """The rest of a head, and a part of a JSON body."""
    return b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (length, part)


UPLOAD = b"content-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n1\r\n \r\n"


def test_each_holder_gets_as_much_as_it_leaves_free() -> None:
    some = Shares(8)

    assert [some.take("acme") for _ in range(6)].count(True) == 4
    assert [some.take("beta") for _ in range(6)].count(True) == 2
    assert some.take("gamma")


def test_what_is_given_back_is_free_again() -> None:
    some = Shares(2)
    assert some.take("acme")
    assert not some.take("acme")

    some.give_back("acme")

    assert some.take("acme")
    assert some.held == 1


async def test_bodies_of_one_token_that_stand_still_leave_others_theirs(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mebibyte = 1024 * 1024
    monkeypatch.setattr(request_body.BodyMemory.__init__, "__defaults__", (4 * mebibyte,))
    large = {"kind": "task", "body": {"prompt": "x" * 900_000}}

    async with gate(redis_url) as door, AsyncExitStack() as stack:
        refused = []
        for _ in range(8):
            part = body(mebibyte, b" " * (mebibyte - 1))
            stalled = sending(door, "POST /v1/jobs:bulk", "a", part)
            refused.append(asyncio.create_task((await stack.enter_async_context(stalled)).read(12)))
        await eventually(lambda: sum(task.done() for task in refused) >= 6)
        answer = await door.ask("POST", "/v1/jobs", large, bearer("b"))

        assert answer.status == 202
        assert {task.result() for task in refused if task.done()} == {b"HTTP/1.1 503"}
        assert (await door.ask("POST", "/v1/jobs", large, bearer("a"))).status == 503
        for task in refused:
            task.cancel()


async def test_uploads_of_one_token_leave_others_theirs(redis_url: str) -> None:
    async with gate(redis_url) as door, AsyncExitStack() as stack:
        answers = []
        for _ in range(16):
            slow = sending(door, "POST /v1/batches", "a", UPLOAD)
            reader = await stack.enter_async_context(slow)
            answers.append(asyncio.create_task(reader.read(12)))
        await eventually(lambda: sum(task.done() for task in answers) >= 8)

        assert (await send(door, lines(1), **bearer("b"))).status == 201
        assert (await send(door, lines(1), **bearer("a"))).status == 503
        for task in answers:
            task.cancel()


async def test_an_upload_whose_parts_come_too_slowly_is_cut_off_though_each_comes_in_time(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_body, "BODY_SECONDS", 0.5)
    host_port: list[str] = []

    async with gate(redis_url) as door:
        host_port += door.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host_port[0], int(host_port[1]))
        head = b"POST /v1/batches HTTP/1.1\r\nhost: g\r\nauthorization: Bearer a\r\n"
        writer.write(head + UPLOAD)

        async def trickle() -> None:
            while True:
                writer.write(b"1\r\n \r\n")
                await writer.drain()
                await asyncio.sleep(0.05)

        trickling = asyncio.create_task(trickle())
        said = await reader.read(12)
        trickling.cancel()
        writer.close()

    assert said == b"HTTP/1.1 408"


async def test_an_upload_that_brings_enough_may_take_longer_than_one_part(
    queue: RunQueue, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_body, "BODY_SECONDS", 0.3)
    monkeypatch.setattr(request_body, "SLOWEST", 50)
    raw = [text([line]) for line in lines(5)]

    async def pieces() -> AsyncIterator[bytes]:
        for piece in raw:
            yield piece
            await asyncio.sleep(0.1)  # its pace

    async with gate(redis_url) as door:
        headers = {"content-type": "application/x-ndjson", **bearer("b")}
        async with door.session.post(
            f"{door.url}/v1/batches", data=pieces(), headers=headers
        ) as answer:
            assert answer.status == 201


async def test_listeners_of_one_token_leave_others_theirs(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shares, "LISTENERS", 8)

    async with gate(redis_url) as door:
        events = f"{door.url}/v1/events"
        asking = (door.session.get(events, headers=bearer("a")) for _ in range(8))
        answers = await asyncio.gather(*asking)
        async with door.session.get(events, headers=bearer("b")) as answer:
            assert answer.status == 200
        said = [one.status for one in answers]
        for one in answers:
            one.close()

    assert sorted(said) == [200] * 4 + [503] * 4


async def test_requests_of_one_token_that_wait_leave_others_theirs(
    desk: Desk, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shares, "REQUESTS", 4)
    (job,) = desk.running()
    path = f"/v1/jobs/{job.job_id}?wait=60"

    async with gate(redis_url) as door:
        waiting = [
            asyncio.create_task(door.ask("GET", path, headers=bearer("a"))) for _ in range(3)
        ]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        refused = [task.result() for task in waiting if task.done()]

        assert [(one.status, one.headers["retry-after"]) for one in refused] == [(503, "5")]
        assert (await door.ask("GET", "/v1/stats", headers=bearer("b"))).status == 200
        assert (await door.ask("GET", "/healthz")).status == 200
        assert (await door.webhook(job, told(job))).verdict == "ended"
        assert (await waiting[0]).status == 200  # it has ended
        await asyncio.wait(waiting)
        assert (await door.ask("GET", path, headers=bearer("a"))).status == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/accounts/default/pause"), ("POST", f"/v1/jobs/{'a' * 24}/cancel")],
)
async def test_an_operators_call_beyond_his_share_is_refused_as_busy_and_not_noted(
    queue: RunQueue, redis_url: str, method: str, path: str
) -> None:
    async with gate(redis_url) as door:
        requests = door.server._gate.requests
        taken = 0
        while requests.take("acme"):
            taken += 1
        refused = await door.ask(method, path, {}, bearer("a"))
        requests.give_back("acme", taken)

    assert (refused.status, refused.headers["retry-after"]) == (503, "5")
    assert queue.audit() == []


async def test_results_that_one_token_does_not_read_leave_others_theirs(
    queue: RunQueue, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shares, "DOWNLOADS", 1)

    async with gate(redis_url) as door:
        gate_here = door.server._gate
        batch = (await send(door, lines(1), **bearer("a"))).body["batch_id"]
        path = f"/v1/batches/{batch}/results"
        assert gate_here.downloads.take("acme")  # as one does that is under way
        assert (await door.ask("GET", path, headers=bearer("a"))).status == 503
        gate_here.downloads.give_back("acme")

        for _ in range(3):  # each gives its place back
            assert (await door.ask("GET", path, headers=bearer("a"))).status == 200


async def test_idle_connections_of_nobody_keep_neither_probes_nor_webhooks_out(
    desk: Desk, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MOST", 20)
    (job,) = desk.running()

    async with gate(redis_url) as door, AsyncExitStack() as stack:
        for _ in range(60):
            idle = sending(door, "GET /healthz", part=b"\r\n")
            await (await stack.enter_async_context(idle)).readuntil(b"}")

        assert (await door.ask("GET", "/healthz")).status == 200
        assert (await door.ask("GET", "/readyz")).status == 200
        assert (await door.ask("GET", "/v1/stats", headers=bearer("b"))).status == 200
        assert (await door.webhook(job, told(job))).verdict == "ended"


async def test_webhooks_of_one_account_that_stand_still_leave_others_theirs(
    desk: Desk, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shares, "WEBHOOKS", 8)
    monkeypatch.setattr(payload, "WEBHOOKS", 8)
    desk.client.sadd(ACCOUNTS, "acme")
    (mine,) = desk.running()
    (theirs,) = desk.queue.enqueue_many([{**JOB, "account": "acme"}])
    accounts = {"acme": {"api_key": "sk-acme"}}
    (other,) = [job for job in desk.claim("acme") if job.job_id == theirs.job_id]

    async with (
        gating(redis_url, api_tokens=TOKENS, accounts=accounts) as door,
        AsyncExitStack() as stack,
    ):
        answers = []
        for _ in range(8):
            part = b"content-length: 9\r\n\r\n{"
            stalled = sending(door, f"POST {address(mine)}", part=part)
            reader = await stack.enter_async_context(stalled)
            answers.append(asyncio.create_task(reader.read(12)))
        await eventually(lambda: sum(task.done() for task in answers) == 4)
        answer = await door.ask(
            "POST", address(other, "acme", "sk-acme"), b"[]", signed(b"[]", "sk-acme")
        )

        assert answer.status == 422  # it is read, and no webhook
        assert {task.result() for task in answers if task.done()} == {b"HTTP/1.1 503"}
        for task in answers:
            task.cancel()


@pytest.mark.parametrize(("hard", "allowed", "most"), [(10_000, 2_400, 2_000), (1_000, 1_000, 600)])
def test_a_process_allows_itself_the_files_that_its_connections_need(
    monkeypatch: pytest.MonkeyPatch, hard: int, allowed: int, most: int
) -> None:
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, both: told.append(both))

    assert connections.connection_limit() == most
    assert told == [(allowed, hard)]


async def test_forms_that_never_come_keep_nobody_of_the_same_address_from_logging_in(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shares, "STRANGERS", 1)

    async with gate(redis_url) as door, AsyncExitStack() as stack:
        head = f"POST /login HTTP/1.1\r\nhost: {door.url.removeprefix('http://')}\r\n"
        head += f"origin: {door.url}\r\ncontent-type: application/x-www-form-urlencoded\r\n"

        async def begin(length: int, part: str = "") -> asyncio.StreamReader:
            host, port = door.url.removeprefix("http://").split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            stack.callback(writer.close)
            writer.write(f"{head}content-length: {length}\r\n\r\n{part}".encode())
            return reader

        # Of two, one holds the only place.
        stuck = [asyncio.create_task((await begin(100)).readline()) for _ in range(2)]
        refused, _ = await asyncio.wait(stuck, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result().split()[1] for task in refused] == [b"503"]

        form = "token=a&next=/"
        said = await (await begin(len(form), form)).readline()
        for task in stuck:
            task.cancel()

    assert said.split()[1] == b"303"


async def test_samples_of_one_token_to_a_silent_receiver_leave_others_theirs(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shares, "TRIES", 4)
    path = "/v1/webhooks/test"

    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        async with (
            receiving(200) as target,
            gating(redis_url, api_tokens=TOKENS, allow_private_webhook_targets=True) as door,
        ):
            sent = [
                asyncio.create_task(door.ask("POST", path, {"url": url}, bearer("a")))
                for _ in range(6)
            ]
            await eventually(lambda: sum(task.done() for task in sent) >= 4)
            tried = await door.ask("POST", path, {"url": target.url}, bearer("b"))
            waiting = [task for task in sent if not task.done()]
            refused = [task.result() for task in sent if task.done()]
            for task in waiting:
                task.cancel()

    assert tried.body["status_code"] == 200
    assert len(waiting) == 2
    assert {(one.status, one.headers["retry-after"]) for one in refused} == {(503, "5")}


async def test_a_gateway_that_serves_opens_no_file_for_a_script_any_more(redis_url: str) -> None:
    library.cache_clear()
    async with gate(redis_url):
        before = library.cache_info().misses
        job_calls.get_batch("default", "a" * 24)
        delivery_calls.confirm_delivery("default", ["a" * 24])
        after = library.cache_info().misses

    assert after == before


async def test_the_scrape_token_has_a_few_places_and_scrapes_at_once_are_one(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shares, "SCRAPES", 4)
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
        scrapes.append(asyncio.create_task(door.ask("GET", "/metrics/queue", headers=bearer("b"))))
        await eventually(lambda: door.server._gate.requests.held == 1)
        assert (await door.ask("GET", "/v1/stats", headers=bearer("b"))).status == 200
        go_on.set()
        answers = await asyncio.gather(*scrapes)

    assert refused == [503] * 4
    assert [one.body for one in answers if one.status == 200] == [b"runqueue_up 1.0\n"] * 3
    assert len(scraped) == 1


async def test_lists_of_one_token_take_turns_and_leave_another_its_own(
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
        greedy = [
            asyncio.create_task(door.ask("GET", path, headers=bearer("a"))) for _ in range(12)
        ]
        await eventually(lambda: door.server._gate.requests.held == 12)
        for other in ("/v1/jobs", "/v1/batches", "/v1/groups", "/v1/audit"):
            assert (await door.ask("GET", other, headers=bearer("b"))).status == 200
        assert len(under_way) == 2
        go_on.set()
        answers = await asyncio.gather(*greedy)

    assert [one.status for one in answers] == [200] * 12


PAGES = ("/jobs", "/batches", "/groups", "/webhooks", "/refused", "/audit", "/batches/{batch}")


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_that_lists_takes_its_turn_among_the_lists_of_its_viewer(
    queue: RunQueue, redis_url: str, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(state, "LIST_SECONDS", 0.05)
    path = path.format(batch=queue.open_batch())

    async with browsing(redis_url, "read-secret") as browser:
        lists = browser.door.server._gate.lists
        async with lists.of("reader"), lists.of("reader"):
            refused = await browser.open(path)
        again = await browser.open(path)

    assert (refused.status, again.status) == (503, 200)
    assert "too many lists are requested; try again" in refused.words


async def test_a_list_whose_turn_does_not_come_is_refused_as_busy(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "LIST_SECONDS", 0.05)

    async with gate(redis_url) as door:
        lists = door.server._gate.lists
        async with lists.of("acme"), lists.of("acme"):
            refused = await door.ask("GET", "/v1/jobs", headers=bearer("a"))
            other = await door.ask("GET", "/v1/jobs", headers=bearer("b"))
        again = await door.ask("GET", "/v1/jobs", headers=bearer("a"))

    assert (refused.status, refused.headers["retry-after"]) == (503, "5")
    assert (other.status, again.status) == (200, 200)


async def test_a_body_whose_turn_to_be_checked_does_not_come_is_refused_as_busy(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit, "CHECK_SECONDS", 0.05)

    async def hand_in(door: Door, secret: str) -> Answer:
        return await door.ask("POST", "/v1/jobs:bulk", [JOB], bearer(secret))

    async with gate(redis_url) as door, AsyncExitStack() as stack:
        places = door.server._gate.checks.turns
        for _ in range(MAX_CHECKS // 2):
            await stack.enter_async_context(places.of("acme"))
        async with asyncio.timeout(20):
            refused, other = await hand_in(door, "a"), await hand_in(door, "b")
        await stack.aclose()
        monkeypatch.undo()
        again = await hand_in(door, "a")

    assert (refused.status, refused.headers["retry-after"]) == (503, "5")
    assert refused.body["detail"] == "too many bodies are being checked; try again"
    assert (other.status, again.status) == (202, 202)
