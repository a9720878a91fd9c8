"""The page's list of schedules, and one of them."""

from typing import Any

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from gateway.page.lists import of_account
from gateway.page.render import page
from gateway.page.viewer import Viewer, list_page
from runqueue.schedules.shown import schedule_values


@of_account("schedules.html")
async def schedules(viewer: Viewer, account: str, _: QueryParams) -> dict[str, Any]:
    """List the schedules of an account."""
    return {"schedules": await viewer.queue.list_schedules(account)}


@list_page
async def schedule(request: Request, viewer: Viewer) -> Response:
    """Show a schedule: what it says, its next firings, and its last."""
    query = request.query_params
    account = await viewer.tenant_scope.account(query.get("account", ""))
    name = str(request.path_params["name"])
    found = await viewer.queue.get_schedule(name, account=account)
    values = {
        "account": account,
        "schedule": found,
        "values": schedule_values(found),
        "done": await viewer.done(account, query.get("done", "")),
    }
    return page(request, "schedule.html", viewer, values)
