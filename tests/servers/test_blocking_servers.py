"""The blocking queue and the blocking client within the servers that blocking code runs in."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from anyio.from_thread import start_blocking_portal
from celery import Celery

from lab.valkeys import free_port
from runqueue import JobNotFound, RunQueue
from runqueue.ids import job_id_for
from simulator.app import Simulator
from simulator.model.options import DEFAULT_API_KEY, Options
from simulator.server import serving

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
NUMBERS = [str(number) for number in range(8)]
PATIENCE = 60.0
#: Asks a server for the answer to a number.
Ask = Callable[[str], dict[str, Any]]

APP = "tests.servers.app:application"
GUNICORN = [
    str(BIN / "gunicorn"),
    "--bind",
    "127.0.0.1:{port}",
    "--preload",
    "--log-level",
    "error",
]
#: Its workers are forked without Python's hooks, and run no thread unless a request waits.
UWSGI = [str(BIN / "pyuwsgi"), "--http-socket", "127.0.0.1:{port}", "--master", "--die-on-term"]
SERVERS = {
    "gunicorn sync": [*GUNICORN, "--workers", "2", APP],
    "gunicorn gthread": [*GUNICORN, "--worker-class", "gthread", "--threads", "4", APP],
    "gunicorn gevent": [*GUNICORN, "--worker-class", "gevent", APP],
    "uWSGI": [*UWSGI, "--processes", "2", "--disable-logging", "--module", APP],
    "a fork for each request": [sys.executable, "-m", "tests.servers.app"],
}
CELERY = [
    *(str(BIN / "celery"), "--app", "tests.servers.tasks:celery", "worker", "--pool", "prefork"),
    *("--concurrency", "2", "--without-gossip", "--without-mingle", "--loglevel", "ERROR"),
]


@asynccontextmanager
async def simulating() -> AsyncIterator[str]:
    """Serve a simulator, whose runs are over soon."""
    async with serving(Simulator(Options(duration=0.2))) as url:
        yield url


@pytest.fixture
def environment(redis_url: str) -> Iterator[dict[str, str]]:
    """What a server finds in its environment: a queue, a Skyvern, a broker, a port."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(simulating()) as url:
        yield os.environ | {
            "RUNQUEUE_REDIS_URL": redis_url,
            "SKYVERN_BASE_URL": url,
            "SKYVERN_API_KEY": DEFAULT_API_KEY,
            "BROKER_URL": f"{redis_url.removesuffix('/0')}/1",
            "PORT": str(free_port()),
        }


@contextmanager
def running(command: list[str], environment: dict[str, str]) -> Iterator[None]:
    """Run a server, with its output where pytest shows it."""
    port = environment["PORT"]
    words = [word.format(port=port) for word in command]
    server = subprocess.Popen(words, cwd=ROOT, env=environment, start_new_session=True)
    try:
        yield
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
            raise


def asking(url: str) -> Ask:
    """Return what asks a server, once it listens."""

    def ask(number: str) -> dict[str, Any]:
        give_up = time.monotonic() + PATIENCE
        while True:
            try:
                with urlopen(f"{url}/?number={number}", timeout=PATIENCE) as answer:
                    return dict(json.load(answer))
            except URLError as error:
                if time.monotonic() > give_up or not isinstance(error.reason, ConnectionError):
                    raise
                time.sleep(0.02)

    return ask


def assert_each_answer(ask: Ask, queue: RunQueue) -> None:
    """Have all numbers answered at the same time, and judge each answer."""
    jobs = {number: job_id_for("default", "", number) for number in NUMBERS}
    with ThreadPoolExecutor(len(NUMBERS)) as threads:
        asked = {number: threads.submit(ask, number) for number in NUMBERS}
        end(queue, jobs.values())
        answers = {number: one.result(PATIENCE) for number, one in asked.items()}
    for number, answer in answers.items():
        assert answer.pop("run").startswith("tsk_")
        assert answer == {
            "job": jobs[number],
            "state": "canceled",
            "prompt": f"Simulated goal: {number}",
            "status": "completed",
            "is_forked": True,
        }


def end(queue: RunQueue, job_ids: Iterable[str]) -> None:
    """Cancel jobs, each once it is there."""
    left, give_up = set(job_ids), time.monotonic() + PATIENCE
    while left:
        assert time.monotonic() < give_up
        time.sleep(0.02)
        for job_id in list(left):
            with suppress(JobNotFound):
                queue.cancel(job_id)
                left.remove(job_id)


@pytest.mark.parametrize("server", SERVERS)
def test_each_request_of_a_server_gets_its_own_job_and_run(
    server: str, environment: dict[str, str], queue: RunQueue
) -> None:
    if not Path(SERVERS[server][0]).exists():
        pytest.skip("uWSGI is not installed: there is no wheel of it for this Python")
    with running(SERVERS[server], environment):
        assert_each_answer(asking(f"http://127.0.0.1:{environment['PORT']}"), queue)


def test_each_task_of_a_celery_worker_gets_its_own_job_and_run(
    environment: dict[str, str], queue: RunQueue
) -> None:
    broker = environment["BROKER_URL"]
    with Celery(broker=broker, backend=broker) as celery, running(CELERY, environment):

        def ask(number: str) -> dict[str, Any]:
            return dict(celery.send_task("answer", [number]).get(timeout=PATIENCE))

        assert_each_answer(ask, queue)
