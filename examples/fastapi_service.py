"""A service that has prices read: it submits jobs to the queue, and waits for them.

    pip install fastapi uvicorn /path/to/runqueue
    RUNQUEUE_REDIS_URL=redis://… uvicorn fastapi_service:app

It needs the package `runqueue` and nothing of the workers.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from pydantic import BaseModel

from runqueue import (
    AsyncRunQueue,
    IdempotencyConflict,
    InvalidJob,
    JobNotFound,
    QueueUnavailable,
    TaskRunRequest,
)


@asynccontextmanager
async def lifespan(service: FastAPI) -> AsyncIterator[None]:
    """Have one queue for the service's life: it pools its connections."""
    async with AsyncRunQueue() as queue:
        service.state.queue = queue
        yield


app = FastAPI(lifespan=lifespan)


def the_queue(request: Request) -> AsyncRunQueue:
    """Return the service's queue."""
    queue: AsyncRunQueue = request.app.state.queue
    return queue


Queue = Annotated[AsyncRunQueue, Depends(the_queue)]


class Wanted(BaseModel):
    """Which price is wanted."""

    order: str
    page: str


@app.post("/prices", status_code=202)
async def ask_for_price(wanted: Wanted, queue: Queue) -> dict[str, str]:
    """Submit a job; the order's name is its key, so asking twice makes one run."""
    try:
        job = await queue.enqueue(
            TaskRunRequest(prompt="Read the price.", url=wanted.page),
            group="prices",
            idempotency_key=wanted.order,
        )
    except InvalidJob as error:  # it names the fields
        raise HTTPException(422, str(error)) from None
    except IdempotencyConflict:
        raise HTTPException(409, f"{wanted.order} was asked for with another page") from None
    except QueueUnavailable:
        raise HTTPException(503, "try again") from None
    return {"job": job.job_id}


@app.get("/prices/{job_id}")
async def price(job_id: str, response: Response, queue: Queue, wait: int = 0) -> dict[str, Any]:
    """Return the price; with `wait` the answer comes as soon as it is there."""
    try:
        job = await queue.wait(job_id, timeout=min(wait, 60))
    except JobNotFound:
        raise HTTPException(404, "no such job") from None
    except TimeoutError:
        response.status_code = 202
        return {"job": job_id, "state": "under way"}
    return {"job": job_id, "state": job.state, "price": job.output, "why": job.failure_reason}
