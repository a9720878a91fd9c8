"""Sessions of the page: users list and end their own."""

from collections.abc import Sequence
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gateway.auth.audit import record_change
from gateway.page.forms import back, viewer_form
from gateway.page.render import HEADERS, page
from gateway.page.viewer import Viewer, viewer_of
from gateway.state.sessions import Session
from gateway.state.state import state_of


async def sessions(request: Request) -> Response:
    """Show the sessions of the viewer's token; an operator of all accounts sees every one."""
    viewer = await viewer_of(request)
    rows = [
        (one, datetime.fromtimestamp(one.begun, UTC), datetime.fromtimestamp(one.expires, UTC))
        for one in await _seen(request, viewer)
    ]
    return page(request, "sessions.html", viewer, {"rows": rows})


async def end_sessions(request: Request) -> Response:
    """End a session, or all others than the form's; sessions that the viewer cannot see stay."""
    viewer, fields = await viewer_form(request)
    which = fields.get("session", "")
    chosen = [
        one
        for one in await _seen(request, viewer)
        if (one.id != viewer.session.id if which == "others" else one.id == which)
    ]
    gate = state_of(request)
    await gate.sessions.end(one.id for one in chosen)
    for name in sorted({one.token.name for one in chosen}):
        count = sum(one.token.name == name for one in chosen)
        detail = "1 session" if count == 1 else f"{count} sessions"
        account, whole = viewer.tenant_scope.default, gate.tenant_scopes.whole
        await record_change(whole, account, viewer.name, "end_sessions", target=name, detail=detail)
    return RedirectResponse(back(fields), 303, HEADERS)


async def _seen(request: Request, viewer: Viewer) -> Sequence[Session]:
    sees_all = viewer.operates and not viewer.tenant_scope.accounts
    return await state_of(request).sessions.list(None if sees_all else viewer.session.token)
