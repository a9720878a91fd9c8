"""The two servers of the conformance test: a real Skyvern, and the simulator beside it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Server:
    """One API under comparison.

    Args:
        name: `real` or `simulated`.
        base_url: where it answers.
        api_key: a key that it accepts.
    """

    name: str
    base_url: str
    api_key: str = field(repr=False)


@contextmanager
def simulated(*options: str) -> Iterator[Server]:
    """`python -m simulator` in a process of its own, for as long as the context lasts."""
    command = [sys.executable, "-m", "simulator", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().removeprefix("simulator: ").strip()
            yield Server("simulated", url, "simulator-key")
        finally:
            process.kill()


@dataclass
class Delivery:
    """One webhook as it arrived: path, headers in lower case, raw body."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """Takes webhooks; a path that ends in a number is answered with that status, others with 200.

    Args:
        url: its address, without a slash at the end.
        deliveries: what arrived, in order.
    """

    url: str
    deliveries: list[Delivery] = field(default_factory=list)

    def at(self, path: str) -> list[Delivery]:
        """What arrived at a path."""
        return [delivery for delivery in self.deliveries if delivery.path == path]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Serve a receiver of webhooks on a free port of the loopback interface."""
    receiver = Receiver("")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.deliveries.append(Delivery(self.path, headers, body))
            last = self.path.rpartition("/")[2]
            self.send_response(int(last) if last.isdigit() else 200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"noted")

        def log_request(self, *_: object) -> None:
            pass

        def log_error(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        receiver.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield receiver
        finally:
            server.shutdown()
