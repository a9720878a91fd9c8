"""The programs of the recipes do what the page says, also if they are killed."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from runqueue import TaskRunRequest
from runqueue.testing import QueueForTests, ScriptedSkyvern
from tests.runqueue.testing.conftest import *  # noqa: F403 - the fixtures that services get

ROOT = Path(__file__).parents[2]
#: The service on an open socket; instead of an enqueue it takes these steps.
SERVICE = """
import os, sys, uvicorn
from runqueue import AsyncRunQueue
async def enqueue(*given, enqueue=AsyncRunQueue.enqueue, **options):
    for step in sys.argv[2:]:
        await enqueue(*given, **options) if step == "enqueue" else os.kill(os.getpid(), 9)
AsyncRunQueue.enqueue = enqueue
uvicorn.run("examples.next_job:app", fd=int(sys.argv[1]))
"""


@pytest.mark.acceptance
def test_b_is_enqueued_once_although_the_service_is_killed_before_and_after(
    queue: QueueForTests, skyvern: ScriptedSkyvern, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET", skyvern.webhook_secret)
    skyvern.on(kind="task").completes({"number": 7})
    url, counts = "https://orders.example/ended", []
    order = queue.enqueue(TaskRunRequest(prompt="Place it.", webhook_url=url))
    with socket.create_server(("127.0.0.1", 0)) as port:
        queue.mount("https://orders.example", f"http://127.0.0.1:{port.getsockname()[1]}")
        for steps in (["die"], ["enqueue", "die"], ["enqueue"]):
            command = [sys.executable, "-c", SERVICE, str(port.fileno()), *steps]
            with subprocess.Popen(command, cwd=ROOT, pass_fds=[port.fileno()]) as process:
                try:
                    queue.drain()
                finally:
                    process.kill()
            counts.append(len(queue.enqueued(kind="workflow")))
            queue.advance(minutes=6)

    assert counts == [0, 1, 1]
    queue.assert_enqueued(kind="workflow", body={"parameters": {"of": {"number": 7}}})
    assert queue.get(order.job_id).webhook.state == "delivered"


def test_the_report_shows_what_ended_and_its_command_retries_it(
    queue: QueueForTests, skyvern: ScriptedSkyvern
) -> None:
    skyvern.on(group="shop-b").fails("The shop is down.").fails("The shop is down.").completes()
    for group in ("shop-a", "shop-b", "shop-b"):
        queue.enqueue(TaskRunRequest(prompt="Read the price."), group=group)
        queue.drain()
    program = [sys.executable, "examples/nightly_report.py"]
    printed = subprocess.check_output(program, cwd=ROOT, text=True)
    retry = printed.splitlines()[-1].strip()
    subprocess.run(f"{sys.prefix}/bin/{retry} --yes", shell=True, check=True)
    queue.drain()

    assert f"```text\n{printed}```\n" in (ROOT / "docs/results_and_webhooks.md").read_text()
    assert {one.job.state for one in queue.enqueued()} == {"completed"}
