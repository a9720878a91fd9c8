"""A service that enqueues a job B for each job A that completed: one B, whenever it is killed.

    pip install fastapi uvicorn standardwebhooks /path/to/runqueue
    RUNQUEUE_REDIS_URL=redis://… WEBHOOK_SECRET=whsec_… uvicorn next_job:app

A is enqueued with the `webhook_url` https://orders.example/ended, which leads here. Its webhook is
sent again until it is answered with 2xx, which this service does once B is enqueued. B's key is
made of A's id: a webhook that comes twice finds the B that there is.
"""

import os
from functools import cache

from fastapi import FastAPI, HTTPException, Request
from standardwebhooks import Webhook, WebhookVerificationError

from runqueue import AsyncRunQueue, WorkflowRunRequest

app = FastAPI()


@cache
def the_queue() -> AsyncRunQueue:
    """Return the queue that the service has for its life."""
    return AsyncRunQueue()


@app.post("/ended")
async def enqueue_next(request: Request) -> None:
    """Enqueue B, then accept the webhook of A."""
    try:
        Webhook(os.environ["WEBHOOK_SECRET"]).verify(await request.body(), dict(request.headers))
    except WebhookVerificationError:
        raise HTTPException(401, "not signed by our queue") from None
    _, job_id, _ = request.headers["webhook-id"].split("_")  # msg_<job>_<attempt>, which is signed
    order = await the_queue().get(job_id)
    if order.state == "completed":
        invoice = WorkflowRunRequest(workflow_id="wpid_invoice", parameters={"of": order.output})
        await the_queue().enqueue(invoice, idempotency_key=f"invoice-{job_id}")
