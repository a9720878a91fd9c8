"""The thread that blocking calls have coroutines run in: interrupts, forks, and the very end."""

import asyncio
import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from api_client.errors import NotSentError
from api_client.http import loop_thread
from api_client.http.loop_thread import LoopThread
from tests.api_client.rawserver import answering, serving
from tests.api_client.twins import TASK


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    one = LoopThread()
    yield one
    for running in filter(None, [one._running, *one._of_parents]):
        running._loop.call_soon_threadsafe(running._loop.stop)
        running.thread.join()
        running._loop.close()


async def thread_name() -> str:
    return threading.current_thread().name


async def never() -> None:
    raise AssertionError


def test_what_a_coroutine_returns_or_raises_is_passed_on(loop: LoopThread) -> None:
    async def fails() -> None:
        raise LookupError("nothing here")

    assert loop.run(thread_name(), "name") == "api-client"
    with pytest.raises(LookupError, match="nothing here"):
        loop.run(fails(), "fails")


def test_threads_that_begin_at_once_share_one_loop(loop: LoopThread) -> None:
    seen: set[asyncio.AbstractEventLoop] = set()
    together = threading.Barrier(8)

    async def running() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def ask() -> None:
        together.wait()
        seen.add(loop.run(running(), "running"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 1


def test_an_interrupt_waits_until_the_coroutine_has_been_canceled(
    loop: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    async def waits() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            said.append("canceled")

    class Interrupted(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            if said:
                return super().wait(timeout)
            started.wait()
            said.append("interrupted")
            raise KeyboardInterrupt

    started = threading.Event()
    patch_event(monkeypatch, Interrupted)
    with pytest.raises(KeyboardInterrupt):
        loop.run(waits(), "waits")
    assert said == ["interrupted", "canceled"]


def test_an_interrupt_just_as_the_coroutine_ends_is_passed_on(
    loop: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[bool] = []

    class Interrupted(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(super().wait(timeout))
            if len(waits) == 1:
                raise KeyboardInterrupt
            return True

    patch_event(monkeypatch, Interrupted)
    with pytest.raises(KeyboardInterrupt):
        loop.run(thread_name(), "name")
    assert waits == [True, True]


def patch_event(monkeypatch: pytest.MonkeyPatch, event: type[threading.Event]) -> None:
    """Have waits of the module end otherwise, and those of nobody else."""
    fake = SimpleNamespace(**vars(threading) | {"Event": event})
    monkeypatch.setattr(loop_thread, "threading", fake)


def test_an_interrupt_before_the_coroutine_has_begun_lets_nothing_begin(
    loop: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop.run(thread_name(), "name")
    assert loop._running is not None
    soon, calls = loop._running._loop.call_soon_threadsafe, []

    def interrupted(callback: Any, *args: Any) -> object:
        calls.append(callback)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return soon(callback, *args)

    monkeypatch.setattr(loop._running._loop, "call_soon_threadsafe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        loop.run(never(), "never")


def test_a_forked_process_begins_a_loop_of_its_own(loop: LoopThread) -> None:
    loop.leave_to_parent()  # nothing was begun
    loop.run(thread_name(), "name")
    parents = loop._running
    loop.leave_to_parent()
    loop.run(thread_name(), "name")
    assert (loop._of_parents, loop._running is parents) == ([parents], False)


def test_where_no_thread_can_be_started_a_coroutine_runs_in_the_one_that_calls(
    loop: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading.Thread, "start", refuses)
    assert loop.run(thread_name(), "name") == threading.current_thread().name


async def test_where_a_loop_runs_and_no_thread_can_be_started_nothing_is_sent(
    loop: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading.Thread, "start", refuses)
    with pytest.raises(NotSentError, match="never: can't start new thread"):
        loop.run(never(), "never")


def refuses(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_while_the_interpreter_ends_nothing_is_waited_for(
    loop: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_thread, "sys", SimpleNamespace(is_finalizing=lambda: True))
    with pytest.raises(NotSentError, match="never: the interpreter is ending"):
        loop.run(never(), "never")


#: Calls at exit: from a handler, and from a finalizer when daemon threads stand still.
SCRIPT = """
import atexit, sys
from api_client import NotSentError, Skyvern

client = Skyvern(api_key="k", base_url=sys.argv[1])

def call():
    print(client.agent.get_run("tsk_1").run_id, flush=True)

class Late:
    def __del__(self):
        try:
            call()
        except NotSentError as error:
            print(error, flush=True)

sys.modules["late"] = Late()
atexit.register(call)
if sys.argv[2] == "used before":
    call()
"""


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize(("use", "calls"), [("used before", 2), ("not used before", 1)])
async def test_at_the_interpreters_exit_handlers_are_answered_and_finalizers_told_of_its_end(
    host: str, use: str, calls: int
) -> None:
    async with serving(answering(200, TASK)) as server:
        url = f"http://{host}:{server.port}"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SCRIPT, url, use, stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(120):
            out, _ = await process.communicate()
    assert out.decode().splitlines() == [
        *["tsk_1"] * calls,
        "GET /v1/runs/tsk_1: the interpreter is ending",
    ]
    assert process.returncode == 0
