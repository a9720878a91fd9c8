"""The page's addresses, and the pages of its errors."""

from collections.abc import Awaitable, Callable
from functools import wraps
from urllib.parse import urlencode

import structlog
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from gateway.http.problems import log_trouble, what_is_damaged
from gateway.page import actions, bulk_views, details, history, lists, login, schedules
from gateway.page import overview as page_live
from gateway.page.errors import TITLES, status_of
from gateway.page.forms import back
from gateway.page.render import HEADERS, here, page, static
from gateway.page.viewer import NoSession
from runqueue.connection.redis_errors import damage_of
from runqueue.errors import ArchiveUnavailable, QueueUnavailable, RunQueueError

log = structlog.get_logger()

Endpoint = Callable[[Request], Awaitable[Response]]


def routes() -> list[BaseRoute]:
    """Return the page's routes; they are not part of the API's description."""
    shown: dict[str, Endpoint] = {
        "/": page_live.overview,
        "/jobs": lists.jobs,
        "/jobs/results": lists.results,
        "/jobs/{job_id}": details.job,
        "/batches": lists.batches,
        "/batches/{batch_id}": details.batch,
        "/batches/{batch_id}/results": lists.results,
        "/groups": lists.groups,
        "/keys": lists.keys,
        "/budgets": lists.budgets,
        "/schedules": schedules.schedules,
        "/schedules/{name}": schedules.schedule,
        "/webhooks": lists.webhooks,
        "/refused": lists.refused,
        "/search": details.search,
        "/audit": lists.audit,
        "/charts": history.charts,
        "/errors": history.errors,
        "/select": bulk_views.select,
        "/login": login.login_form,
    }
    sent: dict[str, Endpoint] = {
        "/login": login.login,
        "/logout": login.logout,
        "/do/many": bulk_views.act_on_many,
        "/do/{what}": actions.act,
    }
    return [
        *(Route(path, _error_pages(endpoint)) for path, endpoint in shown.items()),
        *(Route(path, _error_pages(endpoint), methods=["POST"]) for path, endpoint in sent.items()),
        Route("/live", _error_pages(page_live.live)),
        Route("/static/{name}", _error_pages(static)),
    ]


def _error_pages(endpoint: Endpoint) -> Endpoint:
    """Have an endpoint's errors shown as pages."""

    @wraps(endpoint)
    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except NoSession:
            return _ask_to_log_in(request)
        except HTTPException as error:
            detail = "" if error.detail == "Not Found" else str(error.detail)
            return _problem(request, error.status_code, detail)
        except (RunQueueError, RedisError, OSError) as error:
            return _of_the_queue(request, error)
        except Exception:
            log.exception("page_failed", path=request.url.path)
            return _problem(request, 500, "see the gateway's log")

    return answer


def _of_the_queue(request: Request, error: Exception) -> Response:
    """Show an error of the queue; the log names the Redis that is away."""
    status = status_of(error)
    is_ours = isinstance(error, RunQueueError)
    if is_ours and status == 503 and (damage := damage_of(error)):
        title = what_is_damaged(damage)
        return _problem(request, status, damage, title[0].upper() + title[1:])
    if not is_ours or isinstance(error, QueueUnavailable):
        log_trouble("queue_unreachable", error)
        return _problem(request, status, "try again in a moment")
    if isinstance(error, ArchiveUnavailable):
        return _problem(request, status, str(error), "The archive cannot be read")
    return _problem(request, status, str(error))


def _ask_to_log_in(request: Request) -> Response:
    if request.url.path == "/live":
        return PlainTextResponse("log in again", 401, HEADERS)
    target = here(request)
    query = f"?{urlencode({'next': target})}" if target != "/" else ""
    return RedirectResponse(f"/login{query}", 303, HEADERS)


def _problem(request: Request, status: int, detail: str, title: str | None = None) -> Response:
    title = title or TITLES.get(status, "That did not work")
    values = {"title": title, "detail": detail, "status": status}
    form = getattr(request.state, "form", None)
    if form is None or status != 422 or request.url.path == "/do/many":
        return page(request, "problem.html", None, values, status)
    # What was entered is not lost: it is corrected here. What was counted first is counted again.
    viewer, fields = form
    values |= {"fields": fields, "action": request.url.path, "leave": back(fields)}
    return page(request, "mistake.html", viewer, values, status)
