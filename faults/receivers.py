"""Who webhooks go to: the gateway as a process, and a user's receiver that counts what it takes."""

import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

import httpx

from bench.stack import until
from faults.servers import free_port
from runqueue.embedded.secret_files import TOKEN_FILE

_START_SECONDS = 30.0


@dataclass(slots=True)
class Gateway:
    """A gateway's place: its port, its settings, and its process, if one runs.

    Args:
        environ: its settings.
        log: where its output goes; its folder is the process's own, with the token that it makes.
    """

    environ: Mapping[str, str]
    log: Path
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def token(self) -> str:
        """The token that it made at its start."""
        return (self.log.parent / TOKEN_FILE).read_text().strip()

    @property
    def headers(self) -> dict[str, str]:
        """What a request to it has to carry."""
        return {"Authorization": f"Bearer {self.token}"}

    def start(self) -> Self:
        """Start a process and wait until it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gateway"],
                env={**self.environ, "RUNQUEUE_GATEWAY_PORT": str(self.port)},
                cwd=self.log.parent,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(self._answers, _START_SECONDS, "the gateway to start")
        return self

    def kill(self) -> None:
        """End it with SIGKILL."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(10)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthz", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False


class WebhookTarget:
    """A user's receiver on a port of its own; it may be down for a while.

    Args:
        times: when each webhook was taken, by `webhook-id` (monotonic seconds).
        refused: webhooks that it answered with 503.
    """

    def __init__(self) -> None:
        self.ids: Counter[str] = Counter()
        self.times: dict[str, float] = {}
        self.refused = 0
        self.is_down = False
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it takes webhooks."""
        return f"http://127.0.0.1:{self.port}/hook"

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def take(self, webhook_id: str) -> int:
        """Take a webhook and return the status of the answer."""
        with self._lock:
            if self.is_down:
                self.refused += 1
                return 503
            self.ids[webhook_id] += 1
            self.times.setdefault(webhook_id, time.monotonic())
            return 200

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(receiver.take(self.headers.get("webhook-id", "")))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Write nothing."""

        return Handler
