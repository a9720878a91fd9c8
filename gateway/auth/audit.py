"""Noting what people do through the gateway: who, what, to what.

What was done is done, whether it can be noted or not. Each note is logged as well
(`runqueue.store.audit.log_entry`): Redis keeps the last ten thousand, which whoever is watched can
push out. Calls of the API that need `operate` are noted by a layer around the application, which
sees how they ended; routes may add what it came to (`tell`).
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog
from fastapi import FastAPI, Request
from redis.exceptions import RedisError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.state.state import Gate
from gateway.tenants.scope import sight_of
from runqueue.errors import RunQueueError
from runqueue.ids import is_id
from runqueue.producer.async_queue import AsyncRunQueue
from runqueue.store.accounts import account_of
from runqueue.store.audit import log_entry

log = structlog.get_logger()

#: Seconds that a note may take: who did it waits for his answer.
_PATIENCE: Final = 5.0
_SAFE: Final = {"GET", "HEAD", "OPTIONS"}
#: What a call is done to, as its path names it.
_TARGETS: Final = ("job_id", "batch_id", "name")


async def note(
    queue: AsyncRunQueue, account: str, who: str, what: str, *, target: str = "", detail: str = ""
) -> str:
    """Note what somebody did, and log it; returns the note's id, '' if Redis did not take it."""
    note_id = ""
    try:
        async with asyncio.timeout(_PATIENCE):
            note_id = await queue.note(who, what, target, detail, account=account)
    except (RunQueueError, RedisError, OSError) as error:
        log.warning(
            "not_noted",
            account=account,
            who=who,
            what=what,
            target=target,
            error=str(error)[:200],
        )
    log_entry(what, who=who, account=account, target=target, detail=detail, id=note_id)
    return note_id


def log_session(what: str, request: Request, who: str) -> None:
    """Log that somebody began or ended a session of the page."""
    log_entry(what, who=who, address=request.client.host if request.client else "")


def tell(request: Request, detail: str) -> None:
    """Say what a call came to, or has come to so far, in words, for its note."""
    request.state.audit_detail = detail


class Noting:
    """The layer around the application that notes what was done through the API.

    What was refused is not noted; what broke off is, for it may have done something all the same.

    Args:
        app: the application.
        gate: what the process holds.
    """

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self._app = app
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and note it if it has changed something."""
        if scope["type"] != "http" or scope["method"] in _SAFE:
            await self._app(scope, receive, send)
            return

        is_answered = False

        async def watch(message: Message) -> None:
            # Noted before it is answered: who asks for the notes then, finds it.
            nonlocal is_answered
            if message["type"] == "http.response.start":
                is_answered = True
                await self._look(scope, message["status"])
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception:
            if not is_answered:
                await self._look(scope, 500)
            raise

    async def _look(self, scope: Scope, status: int) -> None:
        """Note a call by how it ended, if it is one that is noted."""
        state = scope.get("state", {})
        if state.get("needed") != "operate":
            return
        told = state.get("audit_detail", "")
        if status < 400:
            await self._note(Request(scope), told)
        elif told or status >= 500:
            detail = "; ".join(filter(None, (told, f"broke off, answered {status}")))
            await self._note(Request(scope), detail)

    async def _note(self, request: Request, detail: str) -> None:
        named = request.path_params
        target = next((str(named[name]) for name in _TARGETS if name in named), "")
        what = request.scope["route"].name
        account = await self._account(request, target)
        who = sight_of(request).name
        await note(self._gate.sights.whole, account, who, what, target=target, detail=detail)

    async def _account(self, request: Request, target: str) -> str:
        told = request.path_params.get("account") or request.query_params.get("account")
        if not told and is_id(target):
            told = account_of(target, await self._known())
        return told or sight_of(request).default

    async def _known(self) -> list[str]:
        try:
            return await self._gate.sights.whole.accounts()
        except (RunQueueError, RedisError, OSError):
            return [*self._gate.accounts]


def add_noting(app: FastAPI, gate: Gate) -> None:
    """Have what is done through the API noted."""
    app.add_middleware(Noting, gate=gate)
