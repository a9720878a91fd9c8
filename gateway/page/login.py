"""Logging in with a token of the API, and out."""

from collections.abc import Mapping, Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from config.gateway import ApiToken
from gateway.auth.audit import log_session
from gateway.auth.tokens import find_bearer, is_from_elsewhere
from gateway.page.forms import back, read_form
from gateway.page.render import HEADERS, page
from gateway.state.sessions import cookies_of, keep, take_away
from gateway.state.state import state_of
from runqueue.embedded.secret_files import TOKEN_FILE

_WRONG: Final = "This is no token that is set up here."
_ELSEWHERE: Final = "This link came from a page of another site: enter its address by hand."


async def login_form(request: Request) -> Response:
    """Show the form for a token; a link with the gateway's own token logs in."""
    query = request.query_params
    target, own = query.get("next", "/"), state_of(request).local_token
    # Users' tokens are not accepted in addresses, which proxies and browsers keep.
    if own is None or "token" not in query:
        return _form(request, target, "")
    # A page of another site may not choose the session of this browser.
    if is_from_elsewhere(request):
        return _form(request, target, _ELSEWHERE, 403)
    if _bearer(query["token"], (own,)) is None:
        request.state.failed_token = query["token"]
        return _form(request, target, _WRONG, 401)
    return await _begin(request, own, dict(query))


async def login(request: Request) -> Response:
    """Begin a session, if the token has the scope `read`."""
    gate = state_of(request)
    fields = await read_form(request)
    token = _bearer(fields.get("token", ""), gate.tokens)
    target = fields.get("next", "/")
    if token is None:
        request.state.failed_token = fields.get("token", "")
        return _form(request, target, _WRONG, 401)
    request.state.bearer = token.name
    if "read" not in token.scopes:
        return _form(request, target, f"{token.name} has not the scope read.", 403)
    return await _begin(request, token, fields)


async def _begin(request: Request, token: ApiToken, fields: Mapping[str, str]) -> Response:
    """Begin a session that replaces the browser's present one."""
    gate = state_of(request)
    public_url = gate.settings.public_url
    await gate.sessions.end_of(cookies_of(request, public_url))
    session, cookie = await gate.sessions.begin(token)
    response = RedirectResponse(back(fields), 303, HEADERS)
    keep(response, request, session, cookie, public_url)
    log_session("login", request, token.name)
    return response


async def logout(request: Request) -> Response:
    """End the session of this browser, and of all copies of its cookie."""
    await read_form(request)
    gate = state_of(request)
    cookies = cookies_of(request, gate.settings.public_url)
    if session := await gate.sessions.read(cookies):
        log_session("logout", request, session.token.name)
    await gate.sessions.end_of(cookies)
    response = RedirectResponse("/login", 303, HEADERS)
    take_away(response, request)
    return response


def _bearer(text: str, known: Sequence[ApiToken]) -> ApiToken | None:
    # Headers are decoded as Latin-1, forms as UTF-8: the bytes are compared.
    return find_bearer(text.encode().decode("latin-1"), known) if text else None


def _form(request: Request, target: str, wrong: str, status: int = 200) -> Response:
    file = TOKEN_FILE if state_of(request).local_token else None
    values = {"next": target, "wrong": wrong, "file": file}
    return page(request, "login.html", None, values, status)
