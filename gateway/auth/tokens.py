"""Authentication: every caller needs a token, also on this machine."""

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from config.gateway import ApiToken, Scope
from gateway.http import query_params
from gateway.http.counting import taken_by
from gateway.refused import Refused
from gateway.state.state import state_of
from runqueue.embedded.secret_files import TOKEN_FILE
from runqueue.problem_types import ProblemType
from runqueue.records.quotas import SUBMITTING_QUOTA

_BEARER = HTTPBearer(
    auto_error=False,
    bearerFormat="opaque",
    description="A token of RUNQUEUE_API_TOKENS with the scope that the call needs; where none are"
    f" set, the one that the gateway made in {TOKEN_FILE}.",
)

Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]


def requires(
    scope: Scope, *, all_accounts: bool = False
) -> Callable[[Request, Credentials], Awaitable[None]]:
    """Return a dependency that lets through bearers with a scope, and sets their `TenantScope`.

    Every route for bearers has one; it also refuses query parameters that the route does not have.

    Args:
        scope: enqueue, read or operate.
        all_accounts: whether it is for bearers of every account alone.
    """

    async def check(request: Request, given: Credentials) -> None:
        gate = state_of(request)
        bearer = _bearer(given, gate.tokens)
        request.state.bearer = bearer.name  # for audits
        if scope not in bearer.scopes:
            raise Refused(ProblemType.SCOPE_MISSING, f"{bearer.name} has not the scope {scope}")
        if all_accounts and bearer.accounts:
            words = f"{bearer.name} is for some accounts, this is of all"
            raise Refused(ProblemType.ACCOUNTS_LIMITED, words)
        await taken_by(request).begin(gate.in_flight[bearer.name])
        SUBMITTING_QUOTA.set(gate.quota_of(bearer.name))
        request.state.tenant_scope = gate.tenant_scopes.of(bearer)
        request.state.needed = scope  # for audits: of calls that are let through
        query_params.check(request)

    return check


def _bearer(given: HTTPAuthorizationCredentials | None, known: Sequence[ApiToken]) -> ApiToken:
    bearer = find_bearer(given.credentials, known) if given else None
    if bearer is None:
        raise Refused(
            ProblemType.TOKEN_UNKNOWN,
            "expected Authorization: Bearer <a token of RUNQUEUE_API_TOKENS; where none are set,"
            f" the one in {TOKEN_FILE} where the gateway runs>",
            {"WWW-Authenticate": "Bearer"},
        )
    return bearer


def find_bearer(token: str, known: Sequence[ApiToken]) -> ApiToken | None:
    """Return the entry of a token, in the same time for each; None = it is unknown."""
    digest = digest_of(token)
    found = None
    for one in known:
        if hmac.compare_digest(one.digest, digest):
            found = one
    return found


def digest_of(header: str) -> str:
    """Return the SHA-256 of a token as a header has it: headers are decoded as Latin-1."""
    return hashlib.sha256(header.encode("latin-1", "replace")).hexdigest()


def is_from_elsewhere(request: Request) -> bool:
    """Say whether a page of another site, or of another port, made the browser send this."""
    return request.headers.get("sec-fetch-site", "none") not in {"same-origin", "none"}
