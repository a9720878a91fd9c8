"""A worker is killed while a batch's callback is on its way: it arrives all the same."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import orjson
import pytest
import redis

from lab.waiting import until
from runqueue import BatchRules
from runqueue.store.keys import Keys
from tests.acceptance.factory import factory, task

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]

FAST = {
    "RUNQUEUE_MAX_CONCURRENT_RUNS": "0",
    "RUNQUEUE_MAX_REQUESTS_PER_SECOND": "0",
    "RUNQUEUE_POLL_MIN_SECONDS": "0.2",
    "RUNQUEUE_ALLOW_PRIVATE_WEBHOOK_TARGETS": "true",
}


class Receiver:
    """Takes callbacks; the first is answered only when its test is over."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.bodies: list[bytes] = []
        self.over = threading.Event()

    def take(self, name: str, body: bytes) -> None:
        """Note one, and let the first hang."""
        self.names.append(name)
        self.bodies.append(body)
        if len(self.names) == 1:
            self.over.wait(120)


@contextmanager
def receiving() -> Iterator[tuple[Receiver, str]]:
    """Serve a receiver, and give its URL."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.take(self.headers["webhook-id"], body)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield receiver, f"http://127.0.0.1:{server.server_port}/hook"
        finally:
            receiver.over.set()
            server.shutdown()


def test_a_callback_whose_worker_was_killed_arrives_from_another_under_the_same_id(
    tmp_path: Path,
) -> None:
    with receiving() as (receiver, url), factory(tmp_path, ("--duration", "0.1"), **FAST) as parts:
        batch = parts.queue.open_batch(rules=BatchRules(callback_url=url))
        parts.queue.enqueue_many([task(f"job-{i}") for i in range(3)], batch=batch)
        parts.queue.seal_batch(batch)
        victim = parts.start_worker()
        until(lambda: receiver.names, 60, "the callback to be sent")
        victim.kill()
        victim.wait()
        found = parts.queue.get_batch(batch).callback
        assert found is not None
        assert (found.pending, found.delivered) == (1, 0)

        with redis.Redis.from_url(parts.redis_url) as client:  # its lease would last a minute
            client.zadd(f"{Keys('default').prefix}callbacks", {f"{batch} 1:completed:": 1})
        parts.start_worker()

        def is_delivered() -> bool:
            now = parts.queue.get_batch(batch).callback
            return now is not None and now.delivered == 1

        until(is_delivered, 60, "the callback to be delivered")
        assert receiver.names == [f"msg_{batch}_1_completed"] * 2
        told = orjson.loads(receiver.bodies[-1])
        assert (told["type"], told["data"]["status"]) == ("batch.completed", "completed")
