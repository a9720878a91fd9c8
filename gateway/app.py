"""The FastAPI application: its routes, its errors, its description."""

from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.telemetry import TelemetryConfig
from starlette.routing import Route

from config.process_metrics import product_version
from gateway.api import (
    accounts,
    batch_actions,
    batches,
    budgets,
    events,
    groups,
    health,
    jobs,
    keys,
    operate,
    results,
    schedules,
    stats,
    submit,
)
from gateway.api.openapi import describe
from gateway.api.routing import OF_TOKENS, by_name
from gateway.auth.audit import ChangeRecorder
from gateway.auth.refusals import Refusals
from gateway.auth.tokens import requires
from gateway.http.cookies import PlainCookies
from gateway.http.counting import Counting
from gateway.http.problems import add_handlers, answers
from gateway.http.trace_context import CallersTrace
from gateway.page import routes
from gateway.state.state import GatewayState
from gateway.webhooks import receiver

#: Spans would hold the path of a webhook, and its token with it.
_NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
}

router = APIRouter(tags=["probes"], generate_unique_id_function=by_name)


@router.get(
    "/openapi.json",
    summary="This description",
    dependencies=[Depends(requires("read"))],
    responses=answers(OF_TOKENS),
)
async def openapi(request: Request) -> dict[str, Any]:
    """Return the description of this API (OpenAPI 3.1). Needs the scope `read`."""
    return describe(request.app)


def make_app(gate: GatewayState) -> FastAPI:
    """Return the application of a gateway."""
    app = FastAPI(
        title="runqueue gateway",
        summary="Takes Skyvern's webhooks, and speaks for the queue.",
        version=product_version(),
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry=_NO_TELEMETRY,
    )
    app.state.gate = gate
    add_handlers(app)
    app.add_middleware(CallersTrace)
    # The first route, and none of FastAPI's: it is called most.
    app.router.routes.append(Route(receiver.PATH, gate.receiver, methods=["POST"]))
    parts = [health, submit, jobs, operate, batches, batch_actions, results, groups, keys]
    parts += [budgets, schedules, accounts, events, stats]
    # The routes themselves: `include_router` would make each of them again, at the first request.
    for part in parts:
        app.router.routes.extend(part.router.routes)
    app.router.routes.extend(router.routes)
    app.router.routes.extend(routes.routes())
    app.add_middleware(ChangeRecorder, gate=gate)
    app.add_middleware(Refusals, metrics=gate.metrics, closing=gate.closing)
    app.add_middleware(Counting)
    app.add_middleware(PlainCookies)
    return app
