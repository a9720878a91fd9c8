"""A whole queue before a server: Valkey, a proxy that may lose answers, workers, a gateway."""

import os
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lab.gateways import Gateway
from lab.valkeys import start_valkey
from runqueue import RunQueue
from tests.acceptance.factory import Factory
from tests.real.lossy import LossyProxy
from tests.real.target import Target

#: The settings of workers and gateway unless a test says otherwise: what the servers bear, and the
#: waits of the defaults.
WORKERS = {
    "RUNQUEUE_MAX_SUBMISSIONS_PER_SECOND": "4",
    "RUNQUEUE_MAX_BURST_SIZE": "4",
    "RUNQUEUE_MAX_CONCURRENT_RUNS": "0",
    "RUNQUEUE_MAX_REQUESTS_PER_SECOND": "20",
    "RUNQUEUE_MAX_OPEN_CALLS": "100",
    "RUNQUEUE_POLL_MIN_SECONDS": "2",
    "RUNQUEUE_POLL_MAX_SECONDS": "20",
    "RUNQUEUE_MAX_RUN_SECONDS": "7200",
    "RUNQUEUE_METRICS_PORT": "0",
}


@contextmanager
def stack(target: Target, folder: Path, **settings: str) -> Iterator[tuple[Factory, LossyProxy]]:
    """Have a Valkey, a proxy before the server, and a place for workers.

    Args:
        target: the server.
        folder: for data and logs.
        settings: of the workers, in the place of those above.
    """
    with ExitStack() as opened:
        valkey = start_valkey(folder / "valkey", aof=True)
        proxy = opened.enter_context(LossyProxy(target.base_url))
        url = f"redis://127.0.0.1:{valkey.port}/0"
        queue = opened.enter_context(RunQueue(url))
        environ = {**WORKERS, "SKYVERN_API_KEY": target.api_key, **settings}
        parts = Factory(valkey, url, proxy.base_url, folder, environ, queue)
        opened.callback(valkey.stop)
        opened.callback(_end_all, parts.workers)
        yield parts, proxy


@contextmanager
def gateway(parts: Factory) -> Iterator[Gateway]:
    """Have a gateway that receives webhooks for the workers, who are told of it."""
    environ = {
        **os.environ,
        "SKYVERN_BASE_URL": parts.base_url,
        "RUNQUEUE_REDIS_URL": parts.redis_url,
        **parts.settings,
    }
    made = Gateway(environ, parts.folder / "gateway.log")
    parts.settings["RUNQUEUE_PUBLIC_URL"] = made.url
    made.environ = {**environ, "RUNQUEUE_PUBLIC_URL": made.url}
    made.start()
    try:
        yield made
    finally:
        assert made.process is not None
        made.process.terminate()
        made.process.wait(30)


def _end_all(workers: Iterable["subprocess.Popen[bytes]"]) -> None:
    for worker in workers:
        worker.terminate()
    for worker in workers:
        try:
            worker.wait(40)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
