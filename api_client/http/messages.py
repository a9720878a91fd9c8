"""Requests and answers, as our own transports take and give them; how requests are built.

httpx's types cost a quarter of a call; they are made only where an httpx transport is to send.
Nothing here sends anything.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final, Literal

import httpx
from multidict import CIMultiDict

from api_client.arguments import OMIT

#: Seconds that the answer to what is no read must be given at least.
ANSWER_SECONDS = 10.0

#: Redirects followed for one call.
MAX_REDIRECTS = 3

#: These keep the method and the body. A POST follows no other; a GET may follow `_MOVED`, too.
_SAME_REQUEST: Final = frozenset({307, 308})
_MOVED: Final = frozenset({301, 302})

_USER_AGENT = "runqueue"
#: Another length or host would be another request, another key one that no error leaves out.
_OURS = frozenset({"host", "content-length", "transfer-encoding", "x-api-key"})
#: Characters from which on a key is removed wherever it is.
_LONG = 8
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(slots=True)
class Request:
    """One HTTP request, ready to send.

    Attributes:
        method: `GET` or `POST`.
        url: the whole URL, percent-encoded.
        headers: all of them, names in lower case; not to be changed, requests share them.
        content: the body; empty = none.
        timeout: seconds for all of it; None = the transport's.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(default=b"", repr=False)
    timeout: float | None = None

    @property
    def name(self) -> str:
        """Method and path, for messages; no query, which may carry the caller's data."""
        _, _, rest = self.url.partition("://")
        path = rest.partition("?")[0]
        return f"{self.method} /{path.partition('/')[2]}"

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return "/".join(self.url.partition("?")[0].split("/", 3)[:3])


@dataclass(slots=True)
class HttpAnswer:
    """One HTTP answer, read whole and decompressed.

    Attributes:
        status: the HTTP status.
        headers: looked up whatever their case.
        body: the body.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def is_success(self) -> bool:
        """Say whether it is a 2xx."""
        return 200 <= self.status < 300

    @property
    def is_redirect(self) -> bool:
        """Say whether it is a 3xx."""
        return 300 <= self.status < 400


class RequestFactory:
    """Make requests to one base URL with one key; what they share is prepared once.

    Args:
        base_url: `http` or `https`, with or without a path of its own, no query.
        api_key: goes into the header `x-api-key` and nowhere else.
        headers: sent with every request; they go before ours.

    Raises:
        ValueError: a base URL, key or header that cannot be sent. No message shows the key.
    """

    def __init__(
        self, base_url: str, api_key: str, headers: Mapping[str, str] | None = None
    ) -> None:
        url = _checked_base_url(base_url)
        self.base_url = str(url).rstrip("/") + "/"
        key = re.escape(api_key)
        #: A short key is removed as a whole word only: as a part of other words it says nothing.
        self._key = re.compile(
            key if len(api_key) >= _LONG else rf"(?<![a-zA-Z0-9]){key}(?![a-zA-Z0-9])"
        )
        # Names are in lower case, here and in what callers add.
        self._headers = {
            "host": url.netloc.decode(),
            "x-api-key": _header_value("x-api-key", api_key),
            "accept": "application/json",
            "accept-encoding": "gzip, deflate",
            # An old answer from a cache would say that a run does not exist, or still goes on.
            "cache-control": "no-cache",
            "user-agent": _USER_AGENT,
            **_given(headers or {}),
        }

    def __repr__(self) -> str:
        return f"RequestFactory({self.base_url!r})"

    def without_key(self, words: str) -> str:
        """Return the words without the key: some gateways quote the key they refuse."""
        return self._key.sub("[key]", words)

    def make(
        self,
        method: Literal["GET", "POST"],
        path: str,
        content: bytes = b"",
        *,
        query: str = "",
        headers: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> Request:
        """Make a request.

        Args:
            method: GET or POST.
            path: relative to the base URL, percent-encoded.
            content: the JSON body; empty = none.
            query: encoded, without the question mark.
            headers: more headers; they go before ours. One that is None or `OMIT` is left out.
            timeout: seconds for all of it, None = the transport's.

        Raises:
            ValueError: a header that cannot be sent.
        """
        url = f"{self.base_url}{path}?{query}" if query else self.base_url + path
        if method == "GET" and not content and not headers:
            return Request(method, url, self._headers, b"", timeout)
        own = self._headers.copy()
        if content or method == "POST":
            own["content-length"] = str(len(content))
        if content:
            own["content-type"] = "application/json"
        if headers:
            own.update(_given(headers))
        return Request(method, url, own, content, timeout)


def next_hop(request: Request, onward: Request, answer: HttpAnswer, start: float) -> Request | None:
    """Return the request that follows a redirect; None = it is not followed.

    Args:
        request: the first one.
        onward: the one that was redirected.
        answer: the redirect.
        start: when the first was made, monotonic seconds; its time is that of all of them.
    """
    is_read, total = request.method == "GET", request.timeout
    if answer.status not in (_SAME_REQUEST | _MOVED if is_read else _SAME_REQUEST):
        return None
    left = None if total is None else total - (monotonic() - start)
    # A submission cut off after a moment would be unconfirmed; a redirect is not.
    if not is_read and left is not None and left < min(total or 0, ANSWER_SECONDS) / 2:
        return None
    return redirected(onward, answer.headers.get("location"), left)


def redirected(request: Request, location: str | None, timeout: float | None) -> Request | None:
    """Return the same request to where the server says, if that is the same server; else None.

    The key goes nowhere else: the host stays, and the port, but for `http` to `https`.

    Args:
        request: the request that was redirected.
        location: the `Location` header, absolute or relative.
        timeout: seconds left for it; None = as many as the request had.
    """
    old = httpx.URL(request.url)
    try:
        url = old.join(location or "")
    except (httpx.InvalidURL, ValueError):
        return None
    if not location or not _same_server(old, url):
        return None
    headers = CIMultiDict(request.headers)
    headers["host"] = url.netloc.decode()
    onward = str(url.copy_with(fragment=None))
    return Request(request.method, onward, headers, request.content, timeout)


def _same_server(old: httpx.URL, new: httpx.URL) -> bool:
    if old.host != new.host or new.userinfo:
        return False
    if old.scheme == new.scheme:
        return old.port == new.port
    return old.scheme == "http" and new.scheme == "https" and new.port is None


def _checked_base_url(base_url: str) -> httpx.URL:
    has_user = "@" in base_url
    try:
        url = httpx.URL(base_url.strip())
    except httpx.InvalidURL as exc:
        # What is wrong may be the password: in http://me:pass/word@host it is read as the port.
        raise ValueError("base_url is not a URL" if has_user else f"base_url: {exc}") from None
    if has_user:  # first of all, so that no password is quoted below
        raise ValueError("base_url takes no query, fragment or user name")
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError(f"base_url {base_url!r} is not an http or https URL")
    try:
        url.host.encode("idna")
        can_be = url.port is None or url.port <= 65535
    except UnicodeError:
        can_be = False
    if not can_be:
        raise ValueError(f"base_url {base_url!r}: there can be no such host or port")
    if url.query or url.fragment:
        raise ValueError("base_url takes no query, fragment or user name")
    return url


def _given(headers: Mapping[str, Any]) -> dict[str, str]:
    return {
        _header_name(name): _header_value(name, str(value))
        for name, value in headers.items()
        if value is not None and value is not OMIT
    }


def _header_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"header {name!r}: expected a name of letters, digits and -")
    if name.lower() in _OURS:
        raise ValueError(f"header {name}: it is not for callers to set")
    return name.lower()


def _header_value(name: str, value: str) -> str:
    """Check a header's value; one with a line break would be two headers."""
    if not value.strip() or value != value.strip() or not (value.isascii() and value.isprintable()):
        raise ValueError(f"header {name} is empty, or holds what a header cannot")
    return value
