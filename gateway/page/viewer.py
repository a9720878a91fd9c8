"""The viewer of the page, and the part of the queue that he may see."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from archive.async_queue import AsyncArchivedQueue
from gateway.http.counting import taken_by, working
from gateway.state.sessions import Session, cookies_of
from gateway.state.state import state_of
from gateway.tenants.scope import TenantScope
from runqueue.store.audit import AuditEntry

#: The newest entries, among which that of the last action is searched.
_LAST = 10


class NoSession(Exception):  # noqa: N818 - what it says is in its name
    """The caller has to log in first."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """A user who is logged in to the page.

    Args:
        session: his.
        tenant_scope: the part of the queue that he may see.
        has_archive: whether the queue has an archive.
    """

    session: Session
    tenant_scope: TenantScope
    has_archive: bool

    @property
    def queue(self) -> AsyncArchivedQueue:
        """The queue, limited to his accounts."""
        return self.tenant_scope.queue

    @property
    def name(self) -> str:
        """His name in audits."""
        return self.tenant_scope.name

    @property
    def operates(self) -> bool:
        """Whether he may change anything."""
        return "operate" in self.session.token.scopes

    async def done(self, account: str, entry_id: str) -> AuditEntry | None:
        """Return the entry of the action from which a page came."""
        entries = await self.queue.audit(account, limit=_LAST) if entry_id else []
        return next((one for one in entries if one.id == entry_id), None)


async def viewer_of(request: Request) -> Viewer:
    """Return the viewer of a request.

    Raises:
        NoSession: nobody is logged in.
    """
    gate = state_of(request)
    session = await gate.sessions.read(cookies_of(request, gate.settings.public_url))
    if session is None or "read" not in session.token.scopes:
        raise NoSession
    request.state.bearer = session.token.name  # for audits
    await taken_by(request).begin(gate.in_flight[session.token.name])
    has_archive = gate.settings.archive_url is not None
    return Viewer(session, gate.tenant_scopes.of(session.token), has_archive)


def list_page(
    endpoint: Callable[[Request, Viewer], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    """Render a page with a list, one of a viewer at a time."""

    @wraps(endpoint)
    async def answer(request: Request) -> Response:
        viewer = await viewer_of(request)
        async with working(request):
            return await endpoint(request, viewer)

    return answer


def must_operate(viewer: Viewer) -> None:
    """Check that a viewer may change something.

    Raises:
        HTTPException: he may not.
    """
    if not viewer.operates:
        raise HTTPException(403, f"{viewer.name} has not the scope operate")
