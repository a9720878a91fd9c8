"""Who may ask: bearers of a token, or, where no token is set up, whoever asks from this machine."""

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException

from config.gateway import ApiToken, Scope
from gateway import queries
from gateway.gate import gate_of
from runqueue.hosts import is_loopback

_BEARER = HTTPBearer(
    auto_error=False,
    bearerFormat="opaque",
    description="A token of RUNQUEUE_API_TOKENS with the scope that the call needs.",
)
#: What a proxy, or a page in a browser, says of itself.
_ON_BEHALF = ("forwarded", "x-forwarded-for", "x-real-ip", "via", "origin")

Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]


def requires(
    scope: Scope, *, all_accounts: bool = False
) -> Callable[[Request, Credentials], Awaitable[None]]:
    """Return a dependency that lets through who may do this, and gives each his sight of the queue.

    Every route of theirs has one; who is let through is told of parameters that it does not have.

    Args:
        scope: enqueue, read or operate.
        all_accounts: whether it is for bearers of every account alone.
    """

    async def check(request: Request, given: Credentials) -> None:
        gate = gate_of(request)
        request.state.needed = scope  # for audits
        bearer = None
        if gate.settings.api_tokens:
            bearer = _bearer(given, gate.settings.api_tokens)
            request.state.bearer = bearer.name  # for audits
            if scope not in bearer.scopes:
                raise HTTPException(403, f"{bearer.name} has not the scope {scope}")
            if all_accounts and bearer.accounts:
                raise HTTPException(403, f"{bearer.name} is for some accounts, this is of all")
        else:
            check_is_local(request, gate.settings.public_url)
        request.state.sight = gate.sights.of(bearer)
        queries.check(request)

    return check


def _bearer(given: HTTPAuthorizationCredentials | None, known: Sequence[ApiToken]) -> ApiToken:
    bearer = find_bearer(given.credentials, known) if given else None
    if bearer is None:
        raise _who_are_you("expected Authorization: Bearer <a token of RUNQUEUE_API_TOKENS>")
    return bearer


def find_bearer(token: str, known: Sequence[ApiToken]) -> ApiToken | None:
    """Return whose token it is, in the same time whoever's it is; None = nobody's."""
    # Headers are decoded as Latin-1: this is what was sent.
    digest = hashlib.sha256(token.encode("latin-1", "replace")).hexdigest()
    found = None
    for one in known:
        if hmac.compare_digest(one.digest, digest):
            found = one
    return found


def check_is_local(request: Request, public_url: str | None, *, own_page: bool = False) -> None:
    """Let through who asks from this machine for himself.

    Where there is a public address, a proxy may stand before us that does not say so: everybody
    looks local then, and nobody is let through.

    What a proxy passes on comes from somewhere else. So does what a web page in a local browser
    sends: it names its origin, or (a name that was made to point here) a host that is not ours.
    Forms of our `own_page` name an origin, too; it is compared with the host elsewhere. A link on
    another page may lead here; what else another page asks for, it asks in somebody's name.
    """
    if public_url is not None:
        raise _who_are_you(
            "others reach this gateway, and no tokens are set: set RUNQUEUE_API_TOKENS"
        )
    peer = request.client.host if request.client else ""
    try:
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    except ValueError:
        host = ""
    told = _ON_BEHALF[:-1] if own_page else _ON_BEHALF
    passed_on = any(name in request.headers for name in told)
    pulled = is_from_elsewhere(request) and not _is_followed(request)
    if passed_on or pulled or not is_loopback(peer) or not is_loopback(host):
        raise _who_are_you("no RUNQUEUE_API_TOKENS are set, so only this machine may ask, directly")


def is_from_elsewhere(request: Request) -> bool:
    """Say whether a page of another site, or of another port, has a browser ask."""
    return request.headers.get("sec-fetch-site", "none") not in {"same-origin", "none"}


def _is_followed(request: Request) -> bool:
    """Say whether somebody follows a link."""
    said = [request.headers.get(f"sec-fetch-{name}") for name in ("mode", "dest")]
    return request.method == "GET" and said == ["navigate", "document"]


def _who_are_you(detail: str) -> HTTPException:
    return HTTPException(401, detail, {"WWW-Authenticate": "Bearer"})
