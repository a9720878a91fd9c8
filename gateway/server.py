"""Serving: uvicorn, from the first call to Redis to the last open request."""

import asyncio
import math
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
import uvicorn

from config.process_metrics import measure_lag
from config.settings import Settings
from gateway.app import make_app
from gateway.auth.local_token import local_token
from gateway.auth.metrics_token import scrape_token
from gateway.state.state import GatewayState
from runqueue.store.scripts import library

log = structlog.get_logger()

#: Seconds that Redis is awaited before the gateway serves without it.
REDIS_SECONDS = 2.0
#: Seconds that requests get which are cut off at the end.
CUT_OFF_SECONDS = 5.0
#: Seconds that an idle connection is kept.
IDLE_SECONDS = 75


class Server(uvicorn.Server):
    """A gateway; made within its event loop. It ends by a signal, or when `should_exit` is set.

    Args:
        settings: the gateway's settings.
        url: the queue's Redis; it need not answer yet.
        started: called with the addresses at which it listens.

    Raises:
        BadTokenFile: the scrape token's file cannot be used.
    """

    def __init__(self, settings: Settings, url: str, started: Callable[[str], None]) -> None:
        token = scrape_token(settings.scrape_token_file)  # before threads begin
        library()  # while there are files left to open
        own = None if settings.api_tokens else local_token()
        self._gate = GatewayState(settings, url, own)
        self._gate.scrape_token = token
        self._announce = started
        super().__init__(_config(settings, self._gate))

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal or `should_exit`, and finish the open requests.

        Raises:
            AmbiguousAccounts: an account's ids begin as those of one that Redis knows.
            EvictingRedis: Redis is set up to drop keys.
            OtherFormat: Redis holds what a version of another format wrote.
        """
        announcing = asyncio.create_task(self._gate.announce())
        measuring = asyncio.create_task(self._measure())
        try:
            await asyncio.wait([announcing], timeout=REDIS_SECONDS)
            if announcing.done():
                announcing.result()
            announcing.add_done_callback(self._end_if_refused)
            with _signals_end_nothing_else():
                await super().serve(sockets)
            if announcing.done():
                announcing.result()
        finally:
            announcing.cancel()
            measuring.cancel()
            await asyncio.wait([announcing, measuring])
            await self._gate.close()
            log.info("gateway_stopped")

    async def _measure(self) -> None:
        while True:
            await measure_lag(self._gate.metrics.loop_lag)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End long requests (events, waiting), and finish the other open ones.

        Those that are cut off give back what they took, which needs Redis.
        """
        self._gate.closing.set()
        await super().shutdown(sockets)
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=CUT_OFF_SECONDS)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, and report the addresses."""
        await super().startup(sockets)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        log.info("gateway_ready", url=url)
        self._announce(url)

    def _end_if_refused(self, announcing: asyncio.Task[None]) -> None:
        if not announcing.cancelled() and announcing.exception() is not None:
            self.should_exit = True


def listen(host: str, port: int) -> list[socket.socket]:
    """Begin to listen at every address of a host; returns the sockets.

    Raises:
        OSError: the host is none of this machine's (`socket.gaierror`: it is none), or the port is
            taken.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    made: list[socket.socket] = []
    try:
        for family, address in dict.fromkeys((entry[0], entry[4]) for entry in found):
            # One port for all of them, also where any free one will do.
            chosen = made[0].getsockname()[1] if made else port
            made.append(socket.create_server((str(address[0]), chosen), family=family))
    except OSError:
        for one in made:
            one.close()
        raise
    return made


def _config(settings: Settings, gate: GatewayState) -> uvicorn.Config:
    return uvicorn.Config(
        make_app(gate),
        host=settings.gateway_host,
        port=settings.gateway_port,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        # Warnings are of what anybody may send that is no request.
        log_level="error",
        # An access log would hold the tokens in webhook URLs.
        access_log=False,
        # Without a proxy the client is the peer of the connection, whatever a header says.
        proxy_headers=bool(settings.gateway_proxies),
        forwarded_allow_ips=[*settings.gateway_proxies],
        server_header=False,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=math.ceil(settings.drain_seconds),
    )


@contextmanager
def _signals_end_nothing_else() -> Iterator[None]:
    """uvicorn takes signals while it serves, and raises those that came once more at its end."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
