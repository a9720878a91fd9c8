"""The FastAPI application: its routes, its errors, its description."""

from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.telemetry import TelemetryConfig
from starlette.routing import Route

from config.process_metrics import product_version
from gateway import (
    accounts,
    batches,
    events,
    figures,
    groups,
    jobs,
    managing,
    page_routes,
    probing,
    receiver,
    results,
    submitting,
    trying,
)
from gateway.audit import add_noting
from gateway.auth import requires
from gateway.description import describe
from gateway.gate import Gate
from gateway.limiting import Telling
from gateway.places import GivesBack
from gateway.problems import add_handlers, answers
from gateway.refusals import add_refusals
from gateway.tracing import CallersTrace

#: Spans would hold the path of a webhook, and its token with it.
_NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
}

router = APIRouter(tags=["probes"])


@router.get(
    "/openapi.json",
    summary="This description",
    dependencies=[Depends(requires("read"))],
    responses=answers(401, 403),
)
async def openapi(request: Request) -> dict[str, Any]:
    """Return what this page is made of (OpenAPI 3.1). Needs the scope `read`."""
    return describe(request.app)


def make_app(gate: Gate) -> FastAPI:
    """Return the application of a gateway."""
    app = FastAPI(
        title="runqueue gateway",
        summary="Takes Skyvern's webhooks, and speaks for the queue.",
        version=product_version(),
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
        telemetry=_NO_TELEMETRY,
    )
    app.state.gate = gate
    add_handlers(app)
    if gate.limiter.rate:
        app.add_middleware(Telling, limiter=gate.limiter)
    app.add_middleware(CallersTrace)
    # The first route, and none of FastAPI's: it is asked most.
    app.router.routes.append(Route(receiver.PATH, gate.receiver, methods=["POST"]))
    parts = [probing, submitting, jobs, batches, managing, results, groups, accounts, events]
    parts += [figures, trying]
    for part in parts:
        app.include_router(part.router)
    app.include_router(router)
    app.router.routes.extend(page_routes.routes())
    add_noting(app, gate)
    add_refusals(app, gate)
    app.add_middleware(GivesBack, answers=gate.answers)
    return app
