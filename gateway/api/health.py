"""Whether the process lives, whether it can do its work, and its metrics."""

from typing import Any, Literal

from fastapi import APIRouter, Depends, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from gateway.api.routing import by_name
from gateway.auth.metrics_token import may_scrape
from gateway.http.problems import answers
from gateway.state.state import state_of

router = APIRouter(tags=["probes"], generate_unique_id_function=by_name)


def _metrics(description: str, example: str) -> dict[int | str, dict[str, Any]]:
    content = {"text/plain": {"schema": {"type": "string"}, "example": example}}
    return {200: {"description": description, "content": content}, **answers(401, 403, 422, 429)}


class Live(BaseModel):
    """The process serves."""

    status: Literal["ok"] = Field("ok", examples=["ok"])


class Ready(BaseModel):
    """The process can do its work."""

    status: Literal["ready"] = Field("ready", examples=["ready"])


@router.get("/healthz", summary="Whether the process serves")
async def healthz() -> Live:
    """Answer while the process serves, even without the queue: a liveness probe."""
    return Live()


@router.get("/readyz", summary="Whether the queue can be reached", responses=answers(503))
async def readyz(request: Request) -> Ready:
    """Answer 200 if the queue's Redis answers within two seconds: a readiness probe."""
    if not await state_of(request).redis_answers():
        raise HTTPException(503, "the queue cannot be reached; try again")
    return Ready()


@router.get(
    "/metrics",
    summary="Metrics of the process",
    dependencies=[Depends(may_scrape)],
    response_class=Response,
    responses=_metrics("The process' metrics.", "runqueue_webhook_seconds_count 12.0\n"),
)
async def metrics(request: Request) -> Response:
    """Return this process' metrics in Prometheus' text format.

    Needs the scope `read` and a token for all accounts, or the token in
    `RUNQUEUE_SCRAPE_TOKEN_FILE`.
    """
    text = generate_latest(state_of(request).metrics.registry)
    return Response(text, media_type=CONTENT_TYPE_LATEST)


@router.get(
    "/metrics/queue",
    summary="Metrics of the queue",
    dependencies=[Depends(may_scrape)],
    response_class=Response,
    responses=_metrics("The queue's metrics.", "runqueue_up 1.0\n"),
)
async def queue_metrics(request: Request) -> Response:
    """Return the whole queue's metrics, the same from every process: scrape them from one.

    `runqueue_up` is 0 where the queue cannot be reached. Needs the scope `read` and a token for
    all accounts, or the token in `RUNQUEUE_SCRAPE_TOKEN_FILE`.
    """
    return Response(await state_of(request).scrape(), media_type=CONTENT_TYPE_LATEST)
