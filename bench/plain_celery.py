"""What a team writes without this project: one Celery task a run, polling by `self.retry`."""

import os
from typing import Any

import httpx
from celery import Celery

app = Celery("plain", broker=os.environ["RUNQUEUE_BROKER_URL"])
app.conf.update(
    task_ignore_result=True, worker_prefetch_multiplier=4, worker_hijack_root_logger=False
)

client = httpx.Client(
    base_url=os.environ["SKYVERN_BASE_URL"], headers={"x-api-key": os.environ["SKYVERN_API_KEY"]}
)


@app.task(bind=True, max_retries=None)
def run(self: Any, body: dict[str, Any], run_id: str | None = None) -> None:
    """Submit a run, then look at it every second until it is over."""
    if run_id is None:
        answer = client.post("/v1/run/tasks", json=body)
        answer.raise_for_status()
        run_id = answer.json()["run_id"]
        raise self.retry(args=[body, run_id], countdown=1)
    if client.get(f"/v1/runs/{run_id}").json()["status"] not in {"completed", "failed"}:
        raise self.retry(args=[body, run_id], countdown=1)
