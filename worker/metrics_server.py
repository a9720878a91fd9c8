"""Serves `/metrics` (this process) and `/metrics/queue` (the queue) over HTTP."""

import threading
from collections.abc import Iterable
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import structlog
from prometheus_client import CollectorRegistry, make_wsgi_app

from runqueue import RunQueue
from runqueue.collector import QueueCollector
from worker.metrics import REGISTRY

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

log = structlog.get_logger()

#: Further processes on this machine take the next free port, this many at most.
PORTS_TRIED = 50


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    allow_reuse_address = True
    # Linux lets two listeners share a port with SO_REUSEPORT: then "next free" would never be free.
    allow_reuse_port = False


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Write no access log: a scrape every few seconds is no news."""


def serve_metrics(host: str, port: int, redis_url: str) -> str | None:
    """Start the server in a thread and return its URL; None when there is no free port.

    Args:
        host: the address to bind.
        port: the first port to try; 0 = any free one is not wanted, no server is started.
        redis_url: the queue's Redis.
    """
    if port == 0:
        return None
    queue = CollectorRegistry()
    queue.register(QueueCollector(RunQueue(redis_url)))
    apps = {"/metrics": make_wsgi_app(REGISTRY), "/metrics/queue": make_wsgi_app(queue)}

    def app(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        chosen = apps.get(environ.get("PATH_INFO", ""))
        if chosen is not None:
            return cast(Iterable[bytes], chosen(environ, start))
        start("404 Not Found", [("Content-Type", "text/plain")])
        return [b"try /metrics or /metrics/queue\n"]

    for candidate in range(port, min(port + PORTS_TRIED, 65_536)):
        try:
            server = make_server(host, candidate, app, _Server, _Quiet)
        except OSError:
            continue
        threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
        log.info("metrics_served", url=f"http://{host}:{candidate}/metrics")
        return f"http://{host}:{candidate}/metrics"
    log.warning("metrics_not_served", first_port=port, ports_tried=PORTS_TRIED)
    return None
