"""An event loop in a thread of its own, in which blocking calls have coroutines run."""

import asyncio
import os
import sys
import threading
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from api_client.errors import NotSentError

T = TypeVar("T")


class LoopThread:
    """Runs coroutines for threads, which wait for their end.

    The first call starts the thread, a daemon, which keeps no process from ending. A process that
    was forked starts its own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: _RunningLoop | None = None
        #: The loops of this process's parents. They are kept: deleting one here would unregister
        #: the parent's sockets, as parent and child share the loop's epoll.
        self._of_parents: list[_RunningLoop] = []

    def run(self, coroutine: Coroutine[Any, Any, T], name: str) -> T:
        """Run a coroutine, and block until it has ended.

        Whatever interrupts the wait, such as a KeyboardInterrupt, is passed on once the coroutine
        has been canceled.

        Args:
            coroutine: what to run; what it raises is passed on.
            name: what it is, for messages.

        Raises:
            NotSentError: nothing can be run: the interpreter is ending, or this is the thread of
                the loop (the garbage collector calls finalizers in any thread).
        """
        if sys.is_finalizing():  # and its daemon threads no longer run
            raise _refused(coroutine, f"{name}: the interpreter is ending")
        try:
            running = self._running or self._begin()
        except RuntimeError as error:
            if _is_loop_running():
                raise _refused(coroutine, f"{name}: {error}") from None
            return asyncio.run(coroutine)  # at the interpreter's exit no thread is started
        if running.thread is threading.current_thread():
            raise _refused(coroutine, f"{name}: a blocking call within the thread that sends")
        return running.run(coroutine)

    def leave_to_parent(self) -> None:
        """Forget the loop in a process that was just forked: its thread runs in the parent."""
        self._lock = threading.Lock()  # another thread of the parent's may have held it
        if self._running is not None:
            self._of_parents.append(self._running)
            self._running = None

    def _begin(self) -> "_RunningLoop":
        with self._lock:
            if self._running is None:
                self._running = _RunningLoop()
            return self._running


class _RunningLoop:
    """An event loop and its thread, which runs it until the process ends.

    Raises:
        RuntimeError: no thread can be started.
    """

    def __init__(self) -> None:
        # Whatever the policy says: uvloop's takes more CPU where each call crosses threads.
        self._loop = asyncio.SelectorEventLoop()
        self.thread = threading.Thread(
            target=self._loop.run_forever, name="api-client", daemon=True
        )
        try:
            self.thread.start()
        except RuntimeError:
            self._loop.close()
            raise

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        loop, ended = self._loop, threading.Event()
        tasks: list[asyncio.Task[T]] = []

        def begin() -> None:
            task = loop.create_task(coroutine)
            task.add_done_callback(lambda _: ended.set())
            tasks.append(task)

        def cancel() -> None:
            if tasks:
                tasks[0].cancel()
            else:  # interrupted before it was begun
                coroutine.close()
                ended.set()

        try:
            loop.call_soon_threadsafe(begin)
            ended.wait()
        except BaseException:
            loop.call_soon_threadsafe(cancel)
            ended.wait()
            raise
        return tasks.pop().result()


def _refused(coroutine: Coroutine[Any, Any, Any], words: str) -> NotSentError:
    coroutine.close()
    return NotSentError(words)


def _is_loop_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


#: That of this process, for all of its clients.
LOOP_THREAD: Final = LoopThread()

os.register_at_fork(after_in_child=LOOP_THREAD.leave_to_parent)
