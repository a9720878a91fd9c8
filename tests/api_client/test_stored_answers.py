"""What answers tell of the server's clock, and old answers that a cache on the way gives."""

import asyncio
import time
from email.utils import formatdate
from typing import Any

import httpx
import pytest

from api_client import ListClass, RawClient, RunPage
from api_client.answers.server_clock import ServerClock
from api_client.elapsed import elapsed, elapsed_us
from tests.api_client.twins import KEY, FakeTransport, answer
from tests.simulator.simulating import FakeClock

#: When a test begins, by the server's clock (unix seconds) and by ours (`elapsed`).
SERVER, OURS = 1_800_000_000.0, 1_000.0


class Server:
    """A server whose answers are dated by its clock, or when a cache took them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.passed = 0.0
        self.date: float | None = None
        self.age: str | None = None
        self.takes = 0.0
        self.status = 200
        self.client = RawClient("http://skyvern.test", KEY, FakeTransport(by=self._answer))
        for module in ("raw", "answers.server_clock"):
            monkeypatch.setattr(f"api_client.{module}.elapsed", lambda: OURS + self.passed)

    @property
    def now(self) -> float:
        """Its clock."""
        return SERVER + self.passed

    def _answer(self, request: httpx.Request) -> httpx.Response:
        body: Any = {"run_id": "tsk_1", "status": "running"}
        if request.url.path == "/v1/runs":
            body = [body]
        # An answer is dated when it is begun.
        headers = {"date": formatdate(self.now if self.date is None else self.date, usegmt=True)}
        self.passed += self.takes
        if self.age is not None:
            headers["age"] = self.age
        return answer(self.status, body, **headers)

    def list(self) -> RunPage:
        """Read a page of the list."""
        page = asyncio.run(self.client.list_runs())
        assert page.outcome is ListClass.DONE
        return page


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    return Server(monkeypatch)


@pytest.mark.parametrize(
    ("age", "seconds"), [(None, 0), ("0", 0), ("1", 1), ("120", 120), ("-3", 0), ("x", 0), ("", 0)]
)
def test_the_age_that_a_cache_tells_makes_a_list_old(
    server: Server, age: str | None, seconds: float
) -> None:
    server.date, server.age = server.now - seconds, age
    page = server.list()
    assert page.age == seconds
    assert page.server_date == server.now, "its runs are as old as they really are"


@pytest.mark.parametrize("call", ["submit", "get_run", "list_runs"])
def test_a_list_that_is_dated_before_its_request_was_sent_is_old(server: Server, call: str) -> None:
    arguments: dict[str, tuple[Any, ...]] = {
        "submit": ("task", b"{}"),
        "get_run": ("tsk_1",),
        "list_runs": (),
    }
    asyncio.run(getattr(server.client, call)(*arguments[call]))
    server.date = server.now
    server.passed += 120.0
    page = server.list()
    assert (page.age, page.server_date) == (120.0, server.now)
    server.age = "300"
    assert server.list().age == 300.0
    server.age = server.date = None
    assert server.list().age == 0.0


def test_a_list_without_a_date_has_no_age_unless_a_cache_tells_it(server: Server) -> None:
    server.list()
    client = RawClient("http://skyvern.test", KEY, FakeTransport(answer(200, [])))
    assert asyncio.run(client.list_runs()).age == 0.0
    client = RawClient("http://skyvern.test", KEY, FakeTransport(answer(200, [], age="5")))
    page = asyncio.run(client.list_runs())
    assert (page.age, page.server_date) == (5.0, None)


def test_a_failed_answer_which_may_be_somebody_else_s_tells_nothing_of_the_server_s_clock(
    server: Server,
) -> None:
    server.date, server.status = server.now + 3_600, 502
    asyncio.run(server.client.submit("task", b"{}"))
    asyncio.run(server.client.get_run("tsk_1"))
    asyncio.run(server.client.list_runs())
    server.date, server.status = None, 200
    assert server.list().age == 0.0


def test_a_server_s_clock_that_was_set_back_is_believed_after_ten_minutes(server: Server) -> None:
    server.list()
    ages = []
    for _ in range(8):
        server.passed += 100.0
        server.date = server.now - 60.0
        ages.append(server.list().age)
    assert ages == [60.0] * 7 + [0.0]


def test_a_clock_that_goes_slower_than_ours_makes_no_list_old(server: Server) -> None:
    ages = set()
    for minute in range(1_000):
        server.date = server.now - 0.02 * minute
        ages.add(server.list().age)
        server.passed += 60.0
    assert ages == {0.0}


def test_before_the_first_dated_answer_the_server_s_time_is_not_known() -> None:
    clock = ServerClock()
    clock.learn(None)

    assert clock.now_us() is None


def test_the_newest_date_goes_on_with_the_process_s_own_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = FakeClock()
    monkeypatch.setattr("api_client.answers.server_clock.elapsed", own)
    clock = ServerClock()
    clock.learn(1_000.0)
    own.advance(0.5)
    clock.learn(1_000.0)
    own.advance(7.0)
    assert clock.now_us() == 1_007_500_000, "of answers with one date the first says the most"

    clock.learn(1_600.0)
    clock.learn(None)
    own.advance(1)
    assert clock.now_us() == 1_601_000_000

    clock.learn(900.0)
    assert clock.now_us() == 900_000_000, "the server's clock may have been set back"


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="the system has no such clock")
def test_the_process_s_own_clock_counts_while_the_machine_is_suspended() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    now, now_us = elapsed(), elapsed_us()
    after = time.clock_gettime(time.CLOCK_BOOTTIME)

    assert before <= now <= now_us / 1e6 + 1e-6 <= after + 2e-6
