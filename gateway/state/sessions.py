"""Sessions of the page: kept in Redis, where every gateway reads them and can end each.

A browser's cookie is a random number. Redis has the session's token and its expiry under the
number's digest: nobody can make a cookie from Redis or a copy of it. A session names its token by a
digest, so removing the token from the settings ends its sessions.

Forms carry a second secret, made of the cookie (`form_token`), so that no other page can send one;
the `Origin` that the browser sends with a form is checked, too.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import orjson
import redis.asyncio
from starlette.requests import Request
from starlette.responses import Response

from config.gateway import ApiToken
from runqueue.store.keys import SESSIONS

#: Seconds that a session lasts.
HOLDS: Final = 12 * 3600
#: Sessions of one token; another one ends the oldest.
MOST: Final = 100
_COOKIE: Final = "runqueue_session"
#: A time after the end of every session, in seconds since 1970.
_LAST: Final = 1e11


@dataclass(frozen=True, slots=True)
class Session:
    """A valid session.

    Args:
        id: its public name; no cookie can be made of it.
        token: whose it is.
        expires: when it ends, seconds since 1970.
        form_token: what the forms of this session carry; '' = it is not the caller's.
    """

    id: str
    token: ApiToken
    expires: float
    form_token: str = ""

    def __repr__(self) -> str:
        return f"Session({self.id[:8]}…, {self.token!r}, expires={self.expires:.0f})"


class _Record(NamedTuple):
    """What Redis holds of a session.

    Args:
        token: the digest of its token.
        begun, expires: seconds since 1970.
    """

    token: str
    begun: float
    expires: float

    @classmethod
    def read(cls, raw: bytes | str) -> _Record | None:
        """Read a record; None = it is invalid."""
        try:
            token, begun, expires = orjson.loads(raw)
            found = cls(str(token), float(begun), float(expires))
        except (ValueError, TypeError):
            return None
        return found if 0 <= found.begun <= found.expires <= _LAST else None

    def written(self) -> bytes:
        """Return it as Redis holds it."""
        return orjson.dumps([*self])


class Sessions:
    """Begins sessions, reads and ends them.

    Args:
        tokens: those that are set up.
        client: the queue's Redis.
    """

    def __init__(self, tokens: Sequence[ApiToken], client: redis.asyncio.Redis) -> None:
        self._tokens = {_fingerprint(token): token for token in tokens}
        self._client = client

    async def begin(self, token: ApiToken, now: float | None = None) -> tuple[Session, str]:
        """Begin a session; returns it and its cookie."""
        began = time.time() if now is None else now
        record = _Record(_fingerprint(token), began, began + HOLDS)
        await self._end_surplus(record)
        cookie = secrets.token_urlsafe(32)
        await self._client.hset(SESSIONS, _id_of(cookie), record.written())
        await self._client.expire(SESSIONS, HOLDS)
        session = Session(_id_of(cookie), token, record.expires, _form_token(cookie))
        return session, cookie

    async def _end_surplus(self, coming: _Record) -> None:
        """Delete sessions that are over, and the oldest of a token above its limit."""
        found = [(one, _Record.read(raw)) for one, raw in await self._all()]
        gone = {one for one, kept in found if kept is None or kept.expires <= coming.begun}
        own = [
            (kept.begun, one)
            for one, kept in found
            if kept and one not in gone and kept.token == coming.token
        ]
        await self._end([*gone, *(one for _, one in sorted(own)[: max(0, len(own) - MOST + 1)])])

    async def read(self, cookies: Iterable[str], now: float | None = None) -> Session | None:
        """Return the session of the first cookie that has a valid one; None = none has."""
        for cookie in cookies:
            raw = await self._client.hget(SESSIONS, _id_of(cookie))
            if found := self._held(_id_of(cookie), raw, now, _form_token(cookie)):
                return found
        return None

    async def holds(self, session: Session) -> bool:
        """Say whether a session is still valid."""
        return self._held(session.id, await self._client.hget(SESSIONS, session.id)) is not None

    async def _end(self, session_ids: Iterable[str]) -> None:
        """End sessions, wherever they are used."""
        if ids := [*session_ids]:
            await self._client.hdel(SESSIONS, *ids)

    async def end_of(self, cookies: Iterable[str]) -> None:
        """End the sessions of some cookies."""
        await self._end(_id_of(cookie) for cookie in cookies)

    async def _all(self) -> Sequence[tuple[str, bytes | str]]:
        found = await self._client.hgetall(SESSIONS)
        return [
            (one.decode() if isinstance(one, bytes) else one, raw) for one, raw in found.items()
        ]

    def _held(
        self, some_id: str, raw: bytes | str | None, now: float | None = None, form_token: str = ""
    ) -> Session | None:
        record = None if raw is None else _Record.read(raw)
        token = self._tokens.get(record.token) if record else None
        if not record or not token or record.expires <= (time.time() if now is None else now):
            return None
        return Session(some_id, token, record.expires, form_token)


def _form_token(cookie: str) -> str:
    return hmac.digest(cookie.encode(), b"runqueue page form", hashlib.sha256).hex()


def _id_of(cookie: str) -> str:
    return hashlib.sha256(cookie.encode()).hexdigest()


def _fingerprint(token: ApiToken) -> str:
    return hashlib.sha256(f"session {token.name} {token.digest}".encode()).hexdigest()[:32]


def cookies_of(request: Request, public_url: str | None) -> list[str]:
    """Return the cookies that may be a session's, the safest first.

    Over TLS only a cookie counts that only this host can set there; a page of the same host on
    another port, or somebody in between, can set others.
    """
    names = [_name(request, secure=True)]
    if not is_secure(request, public_url):
        names.append(_name(request, secure=False))
    return [request.cookies[name] for name in names if name in request.cookies]


def _name(request: Request, *, secure: bool) -> str:
    """Return the cookie's name: cookies of a host go to all of its ports."""
    port = _host_of(request).rpartition("]")[2].partition(":")[2]
    name = f"{_COOKIE}_{port}" if port.isdecimal() else _COOKIE
    return f"__Host-{name}" if secure else name


def _host_of(request: Request) -> str:
    return request.headers.get("host", "").lower()


def keep(
    response: Response, request: Request, session: Session, cookie: str, public_url: str | None
) -> None:
    """Give a browser its session."""
    left = max(0, int(session.expires - time.time()))
    secure = is_secure(request, public_url)
    response.set_cookie(
        _name(request, secure=secure),
        cookie,
        max_age=left,
        httponly=True,
        samesite="strict",
        secure=secure,
    )


def take_away(response: Response, request: Request) -> None:
    """Take a browser's session away."""
    for secure in (False, True):
        response.delete_cookie(
            _name(request, secure=secure), httponly=True, samesite="strict", secure=secure
        )


def is_own_form(request: Request, public_url: str | None) -> bool:
    """Say whether a form came from a page of ours, as far as the browser shows it.

    Args:
        request: what the form sent.
        public_url: where the gateway is reached, if it is set.
    """
    origin = request.headers.get("origin")
    if origin is None:
        return request.headers.get("sec-fetch-site") == "same-origin"
    return _is_own(origin, request, public_url)


def _is_own(origin: str, request: Request, public_url: str | None) -> bool:
    own = {_host_of(request), urlsplit(public_url or "").netloc.lower()}
    try:
        return urlsplit(origin).netloc.lower() in own - {""}
    except ValueError:
        return False


def is_secure(request: Request, public_url: str | None) -> bool:
    """Say whether the browser reached us by https, also through proxies, as far as it is known.

    Args:
        request: what the browser sent.
        public_url: where the gateway is reached, if it is set.
    """
    origin = request.headers.get("origin", "")
    if origin.startswith("https://") and _is_own(origin, request, public_url):
        return True
    if request.url.scheme == "https":  # as a proxy says that is believed
        return True
    public = urlsplit(public_url or "")
    return public.scheme == "https" and public.netloc.lower() == _host_of(request)
