"""Connections to a gateway: its address, the token, which requests are retried and for how long.

Retries requests that never arrived, and idempotent ones; where the gateway says when to come back
(429, 503 with Retry-After), waits for that.
"""

from __future__ import annotations

import os
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit

import httpx
import orjson

from runqueue.connection.urls import is_loopback
from runqueue.embedded.secret_files import TOKEN_FILE
from runqueue.errors import (
    FieldError,
    GatewayUnavailable,
    InvalidRequest,
    RunQueueError,
)
from runqueue.remote.errors import error_of, read_refusal
from runqueue.remote.listeners import users_of

#: Seconds to connect, and to get (the next part of) an answer.
_CONNECT, _ANSWER = 3.0, 30.0
#: How often something is sent that gets no answer, and seconds before the second time (doubled).
TRIES, _PAUSE = 3, 0.25
#: Seconds that the gateway may have us wait in all.
PATIENCE = 30.0
#: Seconds after which to come back where the gateway does not say.
_COME_BACK = 1.0
_LATER = {429, 502, 503, 504}
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_TOKEN = re.compile(r"[!-~]+")
_WORDS = {
    httpx.ConnectTimeout: "cannot be reached in time",
    httpx.ReadTimeout: "does not answer in time",
    httpx.WriteTimeout: "does not take in what is sent",
}
_YES = {"1", "true", "yes", "on"}

T = TypeVar("T")


class _OtherUserError(httpx.RequestError):
    """Another user of this machine has the gateway's port: nothing was sent to him."""


class _Bearer(httpx.Auth):
    """Shows the token; no `repr` does."""

    def __init__(self, token: str) -> None:
        self._header = f"Bearer {token}"

    def auth_flow(self, request: httpx.Request) -> Iterator[httpx.Request]:  # type: ignore[override]
        """Add the header to a request."""
        request.headers["Authorization"] = self._header
        yield request


class GatewayLink:
    """Connections to one gateway; thread-safe.

    Args:
        url: the gateway's, its path included; None = RUNQUEUE_URL.
        token: None = RUNQUEUE_TOKEN, or of a gateway on this machine the one that it made, where
            this is its folder (`.runqueue/token`); '' = none.
        allow_http: whether the token may travel in the clear; None = RUNQUEUE_ALLOW_HTTP.
        patience: seconds that the gateway may have us wait, all in all.

    Raises:
        InvalidRequest: the URL or the token is none, or the token would travel in the clear.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        allow_http: bool | None = None,
        patience: float = PATIENCE,
    ) -> None:
        given = url or os.environ.get("RUNQUEUE_URL", "")
        parts = _read_url(given)
        is_local = is_loopback(parts.hostname or "")
        #: The users that may have the token that is sent; None = whichever the URL leads to.
        self._users: frozenset[int] | None = None
        if token is None and not (token := os.environ.get("RUNQUEUE_TOKEN")) and is_local:
            token, self._users = _own_token()
        self._token = token or ""
        if self._token and not _TOKEN.fullmatch(self._token):
            raise _wrong("token", "expected printable ASCII without spaces (RUNQUEUE_TOKEN)")
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self._patience = patience
        if self._token and parts.scheme == "http" and not is_local:
            _check_may_be_read(allow_http)
        self._is_local = is_local
        self._clients = {os.getpid(): self._made()}

    @property
    def _client(self) -> httpx.Client:
        """The client of this process: a fork that used its parent's would read its answers."""
        process = os.getpid()  # uWSGI forks without Python's hooks
        return self._clients.get(process) or self._clients.setdefault(process, self._made())

    def _made(self) -> httpx.Client:
        return httpx.Client(
            base_url=self.url,
            auth=_Bearer(self._token) if self._token else None,
            timeout=httpx.Timeout(_ANSWER, connect=_CONNECT),
            headers={"accept": "application/json"},
            # A request to this machine goes through no proxy, which would read the token.
            trust_env=not self._is_local,
            event_hooks={"request": [self._watch]} if self._users else {},
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _watch(self, request: httpx.Request) -> None:
        """Have the user behind a request's connection checked before the request is sent."""
        request.extensions["trace"] = self._connected

    def _connected(self, event: str, info: Mapping[str, Any]) -> None:
        if event != "connection.connect_tcp.complete":
            return
        stream = info["return_value"]
        host, port = stream.get_extra_info("server_addr")[:2]
        own = stream.get_extra_info("client_addr")[1]
        others = users_of(host, port, own) - (self._users or frozenset())
        if others:
            stream.close()
            users = ", ".join(map(str, sorted(others)))
            raise _OtherUserError(
                f"is not what listens there, but user {users}: the token in {TOKEN_FILE} is not"
                " sent (RUNQUEUE_TOKEN is sent to any listener)"
            )

    def ask(
        self,
        method: str,
        path: str,
        parse: Callable[[Any], T],
        *,
        params: Mapping[str, Any] | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | Mapping[bytes, bytes] | None = None,
        may_repeat: bool = True,
        timeout: float = _ANSWER,
    ) -> T:
        """Send a request, and again where that helps and does no harm; returns the answer.

        Args:
            parse: reads the answer's JSON.
            method, path, params, content, headers: the request; params that are None are left out.
            may_repeat: whether the request is idempotent.
            timeout: seconds to get the answer in.

        Raises:
            NotAllowed: the gateway does not know the token, or its bearer may not do this.
            GatewayUnavailable: it does not answer, or has us wait for too long.
            RunQueueError: the error of the problem that it answers with (`error_of`).
        """
        request = self._client.build_request(
            method,
            path,
            params={name: value for name, value in (params or {}).items() if value is not None},
            content=content,
            headers=headers,
            timeout=httpx.Timeout(timeout, connect=_CONNECT),
        )
        answer = self.patiently(lambda: self._client.send(request), lambda: may_repeat)
        return self.read(answer, parse)

    def patiently(
        self,
        send: Callable[[], httpx.Response],
        may_repeat: Callable[[], bool],
        *,
        can_repeat: Callable[[], bool] = lambda: True,
        unsure: Callable[[], str] = str,
    ) -> httpx.Response:
        """Send something until it is answered; arguments and errors as for `ask`.

        Args:
            send: sends it, and returns the answer.
            may_repeat: called after a failure: whether sending it again does no harm.
            can_repeat: called after any: whether all of it is there to be sent again.
            unsure: called when no answer came: what that leaves unknown, in words; '' = nothing.
        """
        give_up, tries = time.monotonic() + self._patience, 0
        while True:
            tries += 1
            answer, lost = _answer(send)
            if answer is None:
                wrong: RunQueueError = GatewayUnavailable(self.url, unsure() or words_of(lost))
                pause = _PAUSE * 2.0 ** (tries - 1)
                again = tries < TRIES and (isinstance(lost, _NOT_SENT) or may_repeat())
            elif answer.is_success:
                return answer
            else:
                answer.read()
                said = read_refusal(answer, self._token)
                wrong = error_of(said, self.url, has_token=bool(self._token))
                pause = _COME_BACK if said.retry_after is None else said.retry_after
                again = said.status in _LATER and (said.status == 429 or may_repeat())
                again = again and time.monotonic() + pause <= give_up
            again = again and can_repeat()
            # Here, not where it was caught: what httpx raises holds the request, token included.
            if not again:
                raise wrong
            time.sleep(pause)

    @contextmanager
    def stream(self, path: str, params: Mapping[str, Any]) -> Iterator[httpx.Response]:
        """Request an answer that is read as it comes; arguments and errors as for `ask`."""
        request = self._client.build_request("GET", path, params=dict(params))
        answer = self.patiently(lambda: self._client.send(request, stream=True), lambda: True)
        try:
            yield answer
        finally:
            answer.close()

    def post_stream(
        self,
        path: str,
        params: Mapping[str, Any],
        parts: Iterator[bytes],
        headers: Mapping[bytes, bytes],
    ) -> httpx.Response:
        """Send a body of any length once, as it is made."""
        # The answer comes when all of it was checked.
        timeout = httpx.Timeout(300.0, connect=_CONNECT)
        return self._client.post(
            path, params=dict(params), content=parts, headers=dict(headers), timeout=timeout
        )

    def read(self, answer: httpx.Response, parse: Callable[[Any], T]) -> T:
        """Read an answer in JSON.

        Raises:
            GatewayUnavailable: it is none that a gateway gives.
        """
        return self.checked(lambda content: parse(orjson.loads(content)), answer.content)

    def checked(self, parse: Callable[[Any], T], found: Any) -> T:
        """Read what a gateway gave; errors as of `read`."""
        try:
            return parse(found)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError):
            pass
        raise self.strange()

    def strange(self) -> GatewayUnavailable:
        """Return what an answer is that no gateway gives."""
        return GatewayUnavailable(self.url, "its answer is none that a gateway gives")


def _answer(
    send: Callable[[], httpx.Response],
) -> tuple[httpx.Response | None, httpx.RequestError | None]:
    try:
        return send(), None
    except httpx.RequestError as error:
        return None, error


def words_of(error: Exception | None) -> str:
    """Say why there is no answer."""
    if isinstance(error, _OtherUserError):
        return str(error)
    for kind, words in _WORDS.items():
        if isinstance(error, kind):
            return words
    return f"cannot be reached ({str(error)[:200]})" if str(error) else "cannot be reached"


def _own_token() -> tuple[str, frozenset[int]]:
    """Return the token that a gateway here made ('' = none), and the users who may have it.

    These are the file's owner, as the gateway made it, and those who may read everything.
    """
    try:
        token, owner = TOKEN_FILE.read_text().strip(), TOKEN_FILE.stat().st_uid
    except (OSError, UnicodeDecodeError):
        return "", frozenset()
    return token, frozenset({owner, 0})


def _read_url(url: str) -> SplitResult:
    """Read a gateway's URL; what it holds is not shown, since it may be a secret."""
    if not url:
        raise _wrong("url", "expected the gateway's (RUNQUEUE_URL)")
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url or not _TOKEN.fullmatch(url):
        raise _wrong("url", "expected http(s)://host:port, the gateway's (RUNQUEUE_URL)")
    if "@" in parts.netloc:
        raise _wrong("url", "expected no user name or password in it; RUNQUEUE_TOKEN is for that")
    if parts.query or parts.fragment:
        raise _wrong("url", "expected no query and no fragment (RUNQUEUE_URL)")
    return parts


def _check_may_be_read(allow_http: bool | None) -> None:
    if allow_http is None:
        allow_http = os.environ.get("RUNQUEUE_ALLOW_HTTP", "").lower() in _YES
    if not allow_http:
        raise _wrong(
            "url",
            "expected https: over http anybody on the way reads the token"
            " (RUNQUEUE_ALLOW_HTTP=true, or allow_http=True, sends it all the same)",
        )
    warnings.warn("the token is sent over http: anybody on the way reads it", stacklevel=4)


def _wrong(field: str, message: str) -> InvalidRequest:
    return InvalidRequest([FieldError(field, message)])
