"""What those who can write to the broker may do: hand in jobs, and nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from celery import Celery

from lab.waiting import until
from runqueue import JobState, RunQueue, TaskRunRequest
from runqueue.producer.listing import Filter
from tests.acceptance.factory import Factory, factory
from tests.redis_users import set_users, url_of

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]


@contextmanager
def producer(parts: Factory, user: str = "") -> Iterator[Celery]:
    """A Celery application that knows the broker and nothing of ours."""
    broker = parts.redis_url.removesuffix("0") + "1"
    if user:
        broker = url_of(user, parts.server.port, 1)
    with Celery("shop", broker=broker, set_as_current=False) as app:
        yield app


def run_job(parts: Factory, app: Celery, custom_id: str) -> None:
    """Hand in a job by a message, and wait for its end."""
    line = {"custom_id": custom_id, "kind": "task", "body": {"prompt": "Read it."}}

    def completed() -> bool:
        found = parts.queue.list_jobs(Filter(custom_id=custom_id)).jobs
        return [job.state for job in found] == [JobState.COMPLETED]

    app.send_task("runqueue.enqueue", args=[[line]], queue="runqueue", ignore_result=True)
    until(completed, 60, f"the job {custom_id}")


def test_a_worker_takes_no_remote_control_from_the_broker(tmp_path: Path) -> None:
    with factory(tmp_path, ("--duration", "0.2")) as parts, producer(parts) as app:
        worker = parts.start_worker()
        until(lambda: parts.queue.stats()["default"].processes == 1, 60, "a worker")
        run_job(parts, app, "before")

        app.control.broadcast("shutdown")

        assert app.control.ping(timeout=2) == []
        run_job(parts, app, "after")
        assert worker.poll() is None


def test_workers_and_producers_with_the_users_of_the_operations_page_do_their_work(
    tmp_path: Path,
) -> None:
    with factory(tmp_path, ("--duration", "0.2")) as parts:
        set_users(parts.server.port)
        parts.settings["RUNQUEUE_REDIS_URL"] = url_of("workers", parts.server.port)
        parts.start_worker()
        until(lambda: parts.queue.stats()["default"].processes == 1, 60, "a worker")
        with producer(parts, "celery-shop") as app:
            run_job(parts, app, "by-celery")
        with RunQueue(url_of("python-shop", parts.server.port)) as queue:
            job = queue.enqueue(TaskRunRequest(prompt="Read it."))
            assert job.wait(timeout=60).state is JobState.COMPLETED
        log = (tmp_path / "worker-1.log").read_text().lower()
        assert "permission" not in log
        assert "noperm" not in log
