"""A service that watches prices: it enqueues jobs, and gets their results by webhook.

Its tests, `test_service.py`, run without a worker, a broker and a Skyvern account:

    pip install fastapi httpx pytest-asyncio
    pip install '/path/to/runqueue[testing]' /path/to/runqueue/runqueue-server
    cd examples/tested_service && pytest -c /dev/null --rootdir=.
"""

import hmac
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel

from runqueue import (
    AsyncRunQueue,
    IdempotencyConflict,
    InvalidJob,
    JobNotFound,
    TaskRunRequest,
    WorkflowRunRequest,
)

#: Where the service is reached.
URL = "https://prices.example"


@asynccontextmanager
async def lifespan(service: FastAPI) -> AsyncIterator[None]:
    """Have one queue for the service's life, and the prices that are known."""
    async with AsyncRunQueue() as queue:
        service.state.queue, service.state.prices = queue, {}
        yield


app = FastAPI(lifespan=lifespan)


class Page(BaseModel):
    """A page with a price."""

    order: str
    shop: str
    url: str
    is_urgent: bool = False


@app.post("/pages", status_code=202)
async def watch(page: Page) -> dict[str, str]:
    """Have a price read, three times at most; asking twice for an order makes one run."""
    hook = f"{URL}/hooks/prices"
    try:
        job = await app.state.queue.enqueue(
            TaskRunRequest(prompt="Read the price.", url=page.url, webhook_url=hook),
            group=page.shop,
            idempotency_key=page.order,
            priority="urgent" if page.is_urgent else "normal",
            retry={"max_attempts": 3, "min_backoff": 60},
            deadline=86_400,
        )
    except InvalidJob as error:
        raise HTTPException(422, str(error)) from None
    except IdempotencyConflict:
        raise HTTPException(409, f"{page.order} is of another page") from None
    return {"job": job.job_id}


@app.post("/shops/{shop}/nightly", status_code=202)
async def watch_tonight(shop: str, urls: list[str]) -> dict[str, int]:
    """Have a shop's prices read in six hours."""
    lines = [
        {"kind": "task", "group": shop, "delay": 6 * 3600, "body": {"prompt": "Read.", "url": url}}
        for url in urls
    ]
    return {"jobs": len(await app.state.queue.enqueue_many(lines))}


@app.post("/checkout/{order}", status_code=202)
async def check_out(order: str) -> dict[str, str]:
    """Buy something, once: after a lost answer a person decides."""
    request = WorkflowRunRequest(workflow_id="wpid_checkout", parameters={"order": order})
    job = await app.state.queue.enqueue(request, on_unconfirmed="hold")
    return {"job": job.job_id}


@app.get("/jobs/{job_id}")
async def show(job_id: str) -> dict[str, Any]:
    """Show what became of a job."""
    try:
        job = await app.state.queue.get(job_id)
    except JobNotFound:
        raise HTTPException(404, "no such job") from None
    return {"state": job.state, "output": job.output, "why": job.failure_reason}


@app.delete("/jobs/{job_id}", status_code=204)
async def cancel(job_id: str) -> None:
    """Cancel a job."""
    await app.state.queue.cancel(job_id)


@app.post("/hooks/prices")
async def take_price(request: Request) -> None:
    """Take a result, if the signature is right."""
    body, key = await request.body(), os.environ["SKYVERN_API_KEY"].encode()
    given = request.headers.get("x-skyvern-signature", "")
    if not hmac.compare_digest(hmac.new(key, body, "sha256").hexdigest().encode(), given.encode()):
        raise HTTPException(401, "wrong signature")
    job = await app.state.queue.get(request.headers["runqueue-job-id"])  # that is not signed
    app.state.prices[job.id] = job.state
