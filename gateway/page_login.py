"""Logging in with a token of the API, and out."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from config.gateway import ApiToken
from gateway.audit import log_session
from gateway.auth import find_bearer
from gateway.gate import gate_of
from gateway.page_forms import back, read_form
from gateway.page_render import HEADERS, page
from gateway.session import COOKIE, end, is_secure, keep


async def login_form(request: Request) -> Response:
    """Show the form that a token is entered in; without tokens there is nothing to enter."""
    if not gate_of(request).settings.api_tokens:
        return RedirectResponse("/", 303, HEADERS)
    return _form(request, request.query_params.get("next", "/"), "")


async def login(request: Request) -> Response:
    """Begin a session, if the token is one that may read."""
    gate = gate_of(request)
    fields = await read_form(request)
    token = _bearer(fields.get("token", ""), gate.settings.api_tokens)
    wanted = fields.get("next", "/")
    if token is None:
        request.state.failed_token = fields.get("token", "")
        return _form(request, wanted, "This is no token that is set up here.", 401)
    request.state.bearer = token.name
    if "read" not in token.scopes:
        return _form(request, wanted, f"{token.name} has not the scope read.", 403)
    response = RedirectResponse(back(fields), 303, HEADERS)
    keep(response, gate.sessions.begin(token), secure=is_secure(request))
    log_session("login", request, token.name)
    return response


async def logout(request: Request) -> Response:
    """End the session of this browser."""
    await read_form(request)
    session = gate_of(request).sessions.read(request.cookies.get(COOKIE, ""))
    if session is not None and session.token is not None:
        log_session("logout", request, session.token.name)
    response = RedirectResponse("/login", 303, HEADERS)
    end(response)
    return response


def _bearer(text: str, known: tuple[ApiToken, ...]) -> ApiToken | None:
    # Headers come as Latin-1, forms as UTF-8: what counts are the bytes.
    return find_bearer(text.encode().decode("latin-1"), known) if text else None


def _form(request: Request, wanted: str, wrong: str, status: int = 200) -> Response:
    return page(request, "login.html", None, {"next": wanted, "wrong": wrong}, status)
