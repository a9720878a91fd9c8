"""Sessions of the page: a signed cookie, and nothing kept on the server.

A cookie names a token by a fingerprint, says until when it holds, and is signed. The key is made of
the token's digest and of the accounts' API keys: every gateway with the same settings knows it, a
token that is taken out of the settings ends its sessions, and who has seen the digests alone (they
may stand in a file that many can read) can sign nothing. The token itself is in no cookie.

Forms carry a second signature, made of the cookie (`form_token`), so that no other page can send
one; the browser says by `Origin` where a form stood, and that is looked at, too.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from config.gateway import ApiToken

COOKIE: Final = "runqueue_session"
#: Seconds that a session holds.
HOLDS: Final = 12 * 3600
_PARTS: Final = 4


@dataclass(frozen=True, slots=True)
class Session:
    """A session that holds.

    Args:
        token: whose it is.
        cookie: the cookie as the browser sends it.
        expires: when it ends, seconds since 1970.
        form_token: what the forms of this session carry.
    """

    token: ApiToken
    cookie: str
    expires: float
    form_token: str

    def __repr__(self) -> str:
        return f"Session({self.token!r}, expires={self.expires:.0f})"


class Sessions:
    """Makes sessions and reads them.

    Args:
        tokens: those that are set up.
        api_keys: of the accounts; without any, sessions end with the process.
    """

    def __init__(self, tokens: Sequence[ApiToken], api_keys: Iterable[str]) -> None:
        known = "\0".join(sorted(api_keys)) or secrets.token_hex(32)
        self._secret = _sign(known.encode(), "runqueue page sessions 1")
        self._tokens = {self._fingerprint(token): token for token in tokens}

    def begin(self, token: ApiToken, now: float | None = None) -> Session:
        """Make a session."""
        ends = int(time.time() if now is None else now) + HOLDS
        told = f"{self._fingerprint(token)}.{ends}.{secrets.token_hex(8)}"
        return self._session(token, f"{told}.{_sign(self._key(token), told).hex()}", ends)

    def read(self, cookie: str, now: float | None = None) -> Session | None:
        """Return the session of a cookie; None = it is none, or has ended."""
        parts = cookie.split(".")
        if len(parts) != _PARTS or not parts[1].isdigit():
            return None
        token = self._tokens.get(parts[0])
        if token is None:
            return None
        told = ".".join(parts[:3])
        if not hmac.compare_digest(_sign(self._key(token), told).hex().encode(), parts[3].encode()):
            return None
        ends = int(parts[1])
        return (
            None
            if ends <= (time.time() if now is None else now)
            else self._session(token, cookie, ends)
        )

    def _session(self, token: ApiToken, cookie: str, ends: int) -> Session:
        form_token = _sign(self._key(token), f"form {cookie}").hex()
        return Session(token, cookie, ends, form_token)

    def _fingerprint(self, token: ApiToken) -> str:
        return _sign(self._secret, f"name {token.name} {token.digest}").hex()[:16]

    def _key(self, token: ApiToken) -> bytes:
        return _sign(self._secret, token.digest)


def _sign(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), hashlib.sha256)


def keep(response: Response, session: Session, *, secure: bool) -> None:
    """Give a browser its session."""
    left = max(0, int(session.expires - time.time()))
    response.set_cookie(
        COOKIE, session.cookie, max_age=left, httponly=True, samesite="strict", secure=secure
    )


def end(response: Response) -> None:
    """Take a browser's session away."""
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")


def is_own_form(request: Request, public_url: str | None) -> bool:
    """Say whether a form stood on a page of ours, as far as the browser tells.

    Args:
        request: what the form sent.
        public_url: where the gateway is reached, if it is told.
    """
    origin = request.headers.get("origin")
    if origin is None:
        return request.headers.get("sec-fetch-site") == "same-origin"
    own = {request.headers.get("host", "").lower()}
    if public_url:
        own.add(urlsplit(public_url).netloc.lower())
    try:
        return urlsplit(origin).netloc.lower() in own - {""}
    except ValueError:
        return False


def is_secure(request: Request) -> bool:
    """Say whether the browser reached us by https, whatever stands between."""
    return request.headers.get("origin", "").startswith("https://")
