"""Listening: within a test's event loop, or as a process."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from simulator.app import Simulator
from simulator.model.options import Options

_BACKLOG = 2048

#: Shutdown does not wait for requests delayed by faults; aiohttp reads 0 as "for ever".
_SHUTDOWN_SECONDS = 0.05


@asynccontextmanager
async def serving(
    simulator: Simulator, host: str = "127.0.0.1", port: int = 0, *, keepalive_timeout: float = 75.0
) -> AsyncIterator[str]:
    """Serve a simulator for as long as the context lasts, and give its base URL.

    Args:
        simulator: what to serve; it is closed at the end.
        host: the address to listen at.
        port: 0 takes a free one.
        keepalive_timeout: seconds after which an idle connection is closed.

    Raises:
        OSError: the address is not available.
    """
    runner = web.AppRunner(
        simulator.app(),
        access_log=None,
        keepalive_timeout=keepalive_timeout,
        shutdown_timeout=_SHUTDOWN_SECONDS,
    )
    try:
        await runner.setup()
        site = web.TCPSite(runner, host, port, backlog=_BACKLOG)
        await site.start()
        address = runner.addresses[0]
        yield f"http://{_bracketed(address[0])}:{address[1]}"
    finally:
        await runner.cleanup()
        await simulator.close()


async def serve(options: Options, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Args:
        options: how the simulator behaves.
        host: the address to listen at.
        port: 0 takes a free one.
        announce: called with the base URL once it answers.
    """
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    timeout = options.keepalive_timeout
    async with serving(Simulator(options), host, port, keepalive_timeout=timeout) as url:
        announce(url)
        await ended.wait()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
