"""The viewer of the page, and what of the queue exists for him."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from config.gateway import Scope
from gateway.auth.tokens import TOO_MANY
from gateway.http.places import hold
from gateway.state.sessions import Session, cookies_of
from gateway.state.state import gate_of
from gateway.tenants.scope import Sight
from runqueue.errors import UnknownAccount
from runqueue.ids import is_id
from runqueue.producer.async_queue import AsyncRunQueue
from runqueue.store.accounts import account_of
from runqueue.store.audit import AuditNote

#: Notes among which that of the last action is searched.
_LAST = 10


class NoSession(Exception):  # noqa: N818 - what it says is in its name
    """The caller has to log in first."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """A person who is logged in to the page.

    Args:
        session: his.
        sight: what of the queue exists for him.
    """

    session: Session
    sight: Sight

    @property
    def queue(self) -> AsyncRunQueue:
        """The queue as it exists for him."""
        return self.sight.queue

    @property
    def name(self) -> str:
        """What audits call him."""
        return self.sight.name

    @property
    def scopes(self) -> frozenset[Scope]:
        """What he may do."""
        return self.session.token.scopes

    @property
    def operates(self) -> bool:
        """Whether he may change anything."""
        return "operate" in self.scopes

    async def known(self) -> list[str]:
        """Return the accounts that exist for him."""
        return await self.queue.accounts()

    async def account(self, name: str) -> str:
        """Return an account that exists for him; '' = the one of what names none.

        Raises:
            UnknownAccount: there is none of this name.
        """
        known = await self.known()
        wanted = name or self.sight.default
        if wanted not in known:
            raise UnknownAccount(wanted)
        return wanted

    async def done(self, account: str, note_id: str) -> AuditNote | None:
        """Return the note of what was done just now, if a page came from that."""
        notes = await self.queue.audit(account, limit=_LAST) if note_id else []
        return next((note for note in notes if note.id == note_id), None)

    async def owner(self, some_id: str) -> str | None:
        """Return the account of a job's or batch's id; None = it is none that exists for him."""
        return account_of(some_id, await self.known()) if is_id(some_id) else None


async def viewer_of(request: Request) -> Viewer:
    """Return the viewer of a request.

    Raises:
        NoSession: nobody is logged in.
    """
    gate = gate_of(request)
    session = await gate.sessions.read(cookies_of(request, gate.settings.public_url))
    if session is None or "read" not in session.token.scopes:
        raise NoSession
    request.state.bearer = session.token.name  # for audits
    hold(request, gate.requests, session.token.name, TOO_MANY)
    return Viewer(session, gate.sights.of(session.token))


def listing(
    endpoint: Callable[[Request, Viewer], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    """Have a page with a list made in the turn of its viewer's lists."""

    @wraps(endpoint)
    async def answer(request: Request) -> Response:
        viewer = await viewer_of(request)
        async with gate_of(request).list_turn(viewer.name):
            return await endpoint(request, viewer)

    return answer


def must_operate(viewer: Viewer) -> None:
    """Make sure that a viewer may change something.

    Raises:
        HTTPException: he may not.
    """
    if not viewer.operates:
        raise HTTPException(403, f"{viewer.name} has not the scope operate")
