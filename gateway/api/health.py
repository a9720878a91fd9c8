"""Whether the process lives, whether it can do its work, and its metrics."""

from typing import Any

from fastapi import APIRouter, Depends, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from gateway.api.routing import OF_TOKENS, by_name, described
from gateway.api.schemas import shape, shape_of
from gateway.auth.metrics_token import may_scrape
from gateway.http.problems import AWAY, answers
from gateway.http.request_body import json_answer
from gateway.refused import Refused
from gateway.state.state import state_of
from runqueue.problem_types import ProblemType

router = APIRouter(tags=["probes"], generate_unique_id_function=by_name)


def _metrics(description: str) -> dict[int | str, dict[str, Any]]:
    content = {"text/plain": {"schema": shape_of(str)}}
    problems = answers({*OF_TOKENS, ProblemType.ACCOUNTS_LIMITED})
    return {200: {"description": description, "content": content}, **problems}


def _status(description: str) -> dict[int | str, dict[str, Any]]:
    return {200: described(description, shape(status=str))}


@router.get("/healthz", summary="Whether the process serves", responses=_status("It serves."))
async def healthz() -> Response:
    """Answer while the process serves, even without the queue: a liveness probe."""
    return json_answer({"status": "ok"})


@router.get(
    "/readyz",
    summary="Whether the queue can be reached",
    responses={**_status("It can do its work."), **answers({ProblemType.QUEUE_UNAVAILABLE})},
)
async def readyz(request: Request) -> Response:
    """Answer 200 if the queue's Redis answers within two seconds: a readiness probe."""
    if not await state_of(request).redis_answers():
        raise Refused(ProblemType.QUEUE_UNAVAILABLE, AWAY)
    return json_answer({"status": "ready"})


@router.get(
    "/metrics",
    summary="Metrics of the process",
    dependencies=[Depends(may_scrape)],
    response_class=Response,
    responses=_metrics("The process' metrics."),
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
    responses=_metrics("The queue's metrics."),
)
async def queue_metrics(request: Request) -> Response:
    """Return the whole queue's metrics, the same from every process: scrape them from one.

    `runqueue_up` is 0 where the queue cannot be reached. Needs the scope `read` and a token for
    all accounts, or the token in `RUNQUEUE_SCRAPE_TOKEN_FILE`.
    """
    return Response(await state_of(request).scrape(), media_type=CONTENT_TYPE_LATEST)
