"""A receiver of webhooks on loopback that answers as it is told, and has a page to browse."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Received(NamedTuple):
    """One request: its path with the query, its headers in lower case, its body."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Listener:
    """What was received, and what is answered.

    Args:
        url: where it listens.
        received: every request so far.
        status: what is answered from now on.
    """

    url: str
    received: list[Received] = field(default_factory=list)
    status: int = 200

    def status_of(self, path: str) -> int:
        """Return what a request is answered: the number that its path ends in, if it does."""
        last = path.rpartition("/")[2]
        return int(last) if last.isdigit() else self.status

    def at(self, path: str) -> list[Received]:
        """Return what came to a path, whatever the query."""
        return [each for each in list(self.received) if each.path.partition("?")[0] == path]


@contextmanager
def listener() -> Iterator[Listener]:
    """Have a receiver on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            made.received.append(Received(self.path, headers, body))
            self.send_response(made.status_of(self.path))
            self.send_header("content-length", "5")
            self.end_headers()
            self.wfile.write(b"noted")

        def do_GET(self) -> None:
            page = b"<!doctype html><title>A page</title><p>A page of the tests.</p>"
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.send_header("content-length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = Listener(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
