"""Whether the process lives, whether it can do its work, and its figures."""

from typing import Any, Literal

from fastapi import APIRouter, Depends, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from gateway.auth import requires
from gateway.gate import gate_of
from gateway.problems import answers

router = APIRouter(tags=["probes"])

_METRICS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The process' metrics.",
        "content": {
            "text/plain": {
                "schema": {"type": "string"},
                "example": "runqueue_webhook_seconds_count 12.0\n",
            }
        },
    }
}


class Live(BaseModel):
    """The process serves."""

    status: Literal["ok"] = Field("ok", examples=["ok"])


class Ready(BaseModel):
    """The process can do its work."""

    status: Literal["ready"] = Field("ready", examples=["ready"])


@router.get("/healthz", summary="Whether the process serves")
async def healthz() -> Live:
    """Answer while the process serves, whatever the queue does: a liveness probe."""
    return Live()


@router.get("/readyz", summary="Whether the queue can be reached", responses=answers(503))
async def readyz(request: Request) -> Ready:
    """Answer 200 if the queue's Redis answers within two seconds: a readiness probe."""
    if not await gate_of(request).redis_answers():
        raise HTTPException(503, "the queue cannot be reached; try again")
    return Ready()


@router.get(
    "/metrics",
    summary="Metrics of the process",
    dependencies=[Depends(requires("read"))],
    response_class=Response,
    responses=_METRICS | answers(401, 403),
)
async def metrics(request: Request) -> Response:
    """Return this process' metrics in Prometheus' text format. Needs the scope `read`."""
    text = generate_latest(gate_of(request).metrics.registry)
    return Response(text, media_type=CONTENT_TYPE_LATEST)
