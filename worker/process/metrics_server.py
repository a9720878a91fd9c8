"""Serves `/metrics` (this process), `/metrics/queue` (the queue), and probes over HTTP.

Anybody who reaches the port may connect, so connections are limited: the oldest one is closed.
`/healthz` is 200 while the event loop turns, whatever Redis does: a liveness probe, which a Redis
that is away must not fail. `/readyz` is 200 while the process holds its leases: it may submit.
"""

import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any, Protocol, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import orjson
import structlog
from prometheus_client import CollectorRegistry, make_wsgi_app

from runqueue import RunQueue
from runqueue.observe.collector import QueueCollector
from worker.process.metrics import REGISTRY

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

log = structlog.get_logger()

#: Connections at a time; for one more, the oldest is closed.
MOST_CONNECTIONS = 64
#: Further processes on this machine take the next free port, this many at most.
PORTS_TRIED = 50


class _Server(ThreadingMixIn, WSGIServer):
    """Gives each connection a thread, to so many connections."""

    daemon_threads = True
    allow_reuse_address = True
    # Linux lets two listeners share a port with SO_REUSEPORT: then "next free" would never be free.
    allow_reuse_port = False
    request_queue_size = 128

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lock = threading.Lock()
        self._open: dict[Any, None] = {}

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin a thread for a connection."""
        with self._lock:
            if len(self._open) >= MOST_CONNECTIONS:
                oldest = next(iter(self._open))
                del self._open[oldest]
                with suppress(OSError):  # ends what its thread waits for, and the thread with it
                    oldest.shutdown(socket.SHUT_RDWR)
            self._open[request] = None
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing of a connection that broke: its client is gone."""


class RequestHandler(WSGIRequestHandler):
    """Answers one request."""

    #: Seconds that its client may send, or take in, nothing.
    timeout = 5.0

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Write no access log: a scrape every few seconds is no news."""


class Vital(Protocol):
    """A process that can say how it does."""

    def is_alive(self) -> bool:
        """Say whether its event loop turns."""

    def why_not_ready(self) -> str:
        """Return why it submits nothing; '' if it may."""


def serve_metrics(host: str, port: int, redis_url: str, process: Vital | None = None) -> str | None:
    """Start the server in a thread and return its URL; None when there is no free port.

    Args:
        host: the address to bind.
        port: the first port to try; 0 = any free one is not wanted, no server is started.
        redis_url: the queue's Redis.
        process: what the probes ask; None = there are none.
    """
    if port == 0:
        return None
    queue = CollectorRegistry()
    queue.register(QueueCollector(RunQueue(redis_url)))
    apps: dict[str, Any] = {
        "/metrics": make_wsgi_app(REGISTRY),
        "/metrics/queue": make_wsgi_app(queue),
    }
    if process is not None:
        apps |= {
            "/healthz": _probe(lambda: "" if process.is_alive() else "the event loop is stuck"),
            "/readyz": _probe(process.why_not_ready),
        }

    def app(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        chosen = apps.get(environ.get("PATH_INFO", ""))
        if chosen is not None:
            return cast(Iterable[bytes], chosen(environ, start))
        start("404 Not Found", [("Content-Type", "text/plain")])
        return [b"try /metrics or /metrics/queue\n"]

    for candidate in range(port, min(port + PORTS_TRIED, 65_536)):
        try:
            server = make_server(host, candidate, app, _Server, RequestHandler)
        except OSError:
            continue
        threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
        log.info("metrics_served", url=f"http://{host}:{candidate}/metrics")
        return f"http://{host}:{candidate}/metrics"
    log.warning("metrics_not_served", first_port=port, ports_tried=PORTS_TRIED)
    return None


def _probe(why_not: Callable[[], str]) -> Any:
    """Return an application that answers 200, or 503 with the reason."""

    def app(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        del environ
        reason = why_not()
        status = "503 Service Unavailable" if reason else "200 OK"
        start(status, [("Content-Type", "application/json")])
        return [orjson.dumps({"status": reason or "ok"})]

    return app
