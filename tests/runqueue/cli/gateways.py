"""A real gateway for the commands to speak to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.either import TOKEN
from tests.gateway.test_process import process, url_of
from tests.runqueue.cli.commanding import Desk

#: The token of who may only look.
READER = "token-of-a-reader-0123456789"


@contextmanager
def gateway(folder: Path, redis_url: str) -> Iterator[str]:
    """Serve the queue over HTTP in a process of its own; yields its URL."""
    tokens = ",".join(
        f"{name}:{scopes}:{hashlib.sha256(token.encode()).hexdigest()}"
        for name, scopes, token in (
            ("all", "enqueue+read+operate", TOKEN),
            ("reader", "read", READER),
        )
    )
    given = {"RUNQUEUE_REDIS_URL": redis_url, "RUNQUEUE_API_TOKENS": tokens}
    with process(folder, **given) as started:
        yield url_of(started)


def by_http(desk: Desk, url: str, token: str = TOKEN) -> Desk:
    """Have a desk's commands speak to a gateway, Redis being out of their reach."""
    settings = {
        "RUNQUEUE_URL": url,
        "RUNQUEUE_TOKEN": token,
        "RUNQUEUE_REDIS_URL": "redis://127.0.0.1:1/0",
    }
    return Desk(desk.url, desk.folder, desk.client, desk.queue, {**desk.environ, **settings})
