"""A service that blocks: each request makes a job and a run, and waits for the ends of both.

It is used once as it is imported, so that a server which forks then gives its children a queue and
a client that were in use.
"""

import json
import os
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

from api_client import Skyvern
from runqueue import RunQueue, TaskRunRequest

QUEUE, SKYVERN = RunQueue(), Skyvern()


def answer(number: str) -> dict[str, Any]:
    """Make a job and a run of this number, and say what became of them."""
    job = QUEUE.enqueue(TaskRunRequest(prompt=number), idempotency_key=number)
    run = SKYVERN.agent.run_task(prompt=number)
    ended = SKYVERN.agent.wait_for_run(run.run_id, timeout=30, min_interval=0.05)
    return {
        "job": job.job_id,
        "state": job.wait(30).state,
        "run": run.run_id,
        "prompt": (ended.run_request or {}).get("prompt"),
        "status": ended.status,
        "is_forked": os.getpid() != IMPORTED_BY,
    }


def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """Answer a request by WSGI."""
    (number,) = parse_qs(environ["QUERY_STRING"])["number"]
    body = json.dumps(answer(number)).encode()
    start("200 OK", [("content-type", "application/json"), ("content-length", str(len(body)))])
    return [body]


IMPORTED_BY = os.getpid()
SKYVERN.agent.get_run(SKYVERN.agent.run_task(prompt="the first").run_id)
FIRST = QUEUE.enqueue(TaskRunRequest(prompt="the first"))
FIRST.cancel()
FIRST.wait(30)

if __name__ == "__main__":  # a process for each request
    from socketserver import ForkingMixIn
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

    class Forking(ForkingMixIn, WSGIServer):
        """Serves each request in a process of its own."""

    class Silent(WSGIRequestHandler):
        """Writes no log."""

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    with Forking(("127.0.0.1", int(os.environ["PORT"])), Silent) as server:
        server.set_app(application)
        server.serve_forever()
