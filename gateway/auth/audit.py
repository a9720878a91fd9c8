"""Records what people do through the gateway: who, what, to what.

An action stays done even if it cannot be recorded. Each entry is logged as well
(`runqueue.store.audit.log_entry`): Redis keeps the last ten thousand, so a user could push his
out. A layer around the application records the calls of the API that need `operate` by how they
ended; routes may add the result (`set_detail`).
"""

import asyncio
from typing import Final

import structlog
from fastapi import Request
from redis.exceptions import RedisError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.state.state import GatewayState
from gateway.tenants.scope import tenant_scope_of
from runqueue.errors import RunQueueError
from runqueue.ids import is_id
from runqueue.producer.async_queue import AsyncRunQueue
from runqueue.store import audit
from runqueue.store.accounts import account_of
from runqueue.store.audit import log_entry

log = structlog.get_logger()

#: Seconds that an entry may take: the caller waits for the answer.
_PATIENCE: Final = 5.0
_SAFE: Final = {"GET", "HEAD", "OPTIONS"}
#: What a call is done to, as its path names it.
_TARGETS: Final = ("job_id", "batch_id", "name")


async def record_change(
    queue: AsyncRunQueue, account: str, who: str, what: str, *, target: str = "", detail: str = ""
) -> str:
    """Record what somebody did, and log it; returns the entry's id, '' if Redis did not take it."""
    entry_id = ""
    try:
        async with asyncio.timeout(_PATIENCE):
            entry_id = await queue.send(audit.add_entry(account, who, what, target, detail))
    except (RunQueueError, RedisError, OSError) as error:
        log.warning(
            "change_not_recorded",
            account=account,
            who=who,
            what=what,
            target=target,
            error=str(error)[:200],
        )
    log_entry(what, who=who, account=account, target=target, detail=detail, id=entry_id)
    return entry_id


def log_session(what: str, request: Request, who: str) -> None:
    """Log that somebody began or ended a session of the page."""
    log_entry(what, who=who, address=request.client.host if request.client else "")


def set_detail(request: Request, detail: str) -> None:
    """Set the result of a call, or its result so far, in words, for its entry."""
    set_details(request, {"": ("", detail)})


def set_details(
    request: Request, details: dict[str, tuple[str, str]], what: str | None = None
) -> None:
    """Set the entries of a call: by account, the target and the result in words; {} = none.

    Where account or target are '' they are those that the path names.

    Args:
        request: the call.
        details: the entries.
        what: the action; None = the route's name.
    """
    request.state.audit_details, request.state.audit_what = details, what


class ChangeRecorder:
    """The layer around the application that records actions of the API.

    Refused calls are not recorded; those that broke off are, since they may have done something.

    Args:
        app: the application.
        gate: what the process holds.
    """

    def __init__(self, app: ASGIApp, gate: GatewayState) -> None:
        self._app = app
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and record it if it has changed something."""
        if scope["method"] in _SAFE:
            await self._app(scope, receive, send)
            return

        is_answered = False

        async def watch(message: Message) -> None:
            # Recorded before the answer: a caller who then reads the entries finds it.
            nonlocal is_answered
            if message["type"] == "http.response.start":
                is_answered = True
                await self._record_end(scope, message["status"])
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception:
            if not is_answered:
                await self._record_end(scope, 500)
            raise

    async def _record_end(self, scope: Scope, status: int) -> None:
        """Record a call by how it ended, if it is one that is recorded."""
        state = scope.get("state", {})
        if state.get("needed") != "operate":
            return
        for account, (target, result) in state.get("audit_details", {"": ("", "")}).items():
            detail = result
            if status >= 400:
                if not result and status < 500:
                    continue
                detail = "; ".join(filter(None, (result, f"broke off, answered {status}")))
            await self._record(Request(scope), account, target, detail)

    async def _record(self, request: Request, account: str, target: str, detail: str) -> None:
        named = request.path_params
        target = target or next((str(named[name]) for name in _TARGETS if name in named), "")
        what = getattr(request.state, "audit_what", None) or request.scope["route"].name
        account = account or await self._account(request, target)
        who = tenant_scope_of(request).name
        await record_change(
            self._gate.tenant_scopes.whole, account, who, what, target=target, detail=detail
        )

    async def _account(self, request: Request, target: str) -> str:
        named = request.path_params.get("account") or request.query_params.get("account")
        if not named and is_id(target):
            named = account_of(target, await self._known())
        return named or tenant_scope_of(request).default

    async def _known(self) -> list[str]:
        try:
            return await self._gate.tenant_scopes.whole.accounts()
        except (RunQueueError, RedisError, OSError):
            return [*self._gate.accounts]
