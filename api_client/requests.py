"""Building HTTP requests to one account, and following redirects. Nothing here sends anything."""

import re
from collections.abc import Generator, Mapping
from time import monotonic
from typing import Any, Final

import httpx
from multidict import CIMultiDict

from api_client.messages import Answer, Request

#: Redirects followed for one call.
MAX_REDIRECTS = 3

#: These keep the method and the body. A POST follows no other; a GET may follow `_MOVED`, too.
_SAME_REQUEST: Final = frozenset({307, 308})
_MOVED: Final = frozenset({301, 302})

_USER_AGENT = "runqueue"
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


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
        self._api_key = api_key
        self._headers = CIMultiDict(
            {
                "host": url.netloc.decode(),
                "x-api-key": _header_value("x-api-key", api_key),
                "accept": "application/json",
                "accept-encoding": "gzip, deflate",
                "user-agent": _USER_AGENT,
            }
        )
        self._headers.update(_given(headers or {}))

    def __repr__(self) -> str:
        return f"RequestFactory({self.base_url!r})"

    def without_key(self, words: str) -> str:
        """Return the words without the key: some gateways quote the key they refuse."""
        return words.replace(self._api_key, "[key]")

    def get(
        self,
        path: str,
        content: bytes = b"",
        *,
        query: str = "",
        headers: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> Request:
        """Make a GET; arguments and errors as in `post`."""
        if not content and not headers:
            return Request("GET", self._url(path, query), self._headers, b"", timeout)
        return self._with_body("GET", path, content, query, headers=headers, timeout=timeout)

    def post(
        self,
        path: str,
        content: bytes = b"",
        *,
        query: str = "",
        headers: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> Request:
        """Make a POST.

        Args:
            path: relative to the base URL, percent-encoded.
            content: the JSON body; empty = none.
            query: encoded, without the question mark.
            headers: more headers; they go before ours. One that is None is left out.
            timeout: seconds for all of it, None = the transport's.

        Raises:
            ValueError: a header that cannot be sent.
        """
        return self._with_body("POST", path, content, query, headers=headers, timeout=timeout)

    def _with_body(
        self,
        method: str,
        path: str,
        content: bytes,
        query: str,
        *,
        headers: Mapping[str, Any] | None,
        timeout: float | None,
    ) -> Request:
        own = self._headers.copy()
        own["content-length"] = str(len(content))
        if content:
            own["content-type"] = "application/json"
        if headers:
            own.update(_given(headers))
        return Request(method, self._url(path, query), own, content, timeout)

    def _url(self, path: str, query: str) -> str:
        return f"{self.base_url}{path}?{query}" if query else self.base_url + path


def hops(request: Request, answer: Answer, start: float) -> Generator[Request, Answer, Answer]:
    """Give the requests that follow a redirect, one after the other, and return the last answer.

    Whoever drives this sends each and hands back its answer.

    Args:
        request: the one that was redirected.
        answer: the redirect.
        start: when the request was made, monotonic seconds; its time is that of all of them.
    """
    may_follow = _SAME_REQUEST if request.method != "GET" else _SAME_REQUEST | _MOVED
    total, onward = request.timeout, request
    for _ in range(MAX_REDIRECTS):
        if answer.status not in may_follow:
            break
        left = None if total is None else total - (monotonic() - start)
        further = redirected(onward, answer.headers.get("location"), left)
        if further is None:
            break
        onward = further
        answer = yield onward
    return answer


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
    try:
        url = httpx.URL(base_url.strip())
    except httpx.InvalidURL as exc:
        raise ValueError(f"base_url {base_url!r}: {exc}") from exc
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError(f"base_url {base_url!r} is not an http or https URL")
    try:
        url.host.encode("idna")
        can_be = url.port is None or url.port <= 65535
    except UnicodeError:
        can_be = False
    if not can_be:
        raise ValueError(f"base_url {base_url!r}: there can be no such host or port")
    if url.query or url.fragment or url.userinfo:
        raise ValueError("base_url takes no query, fragment or user name")
    return url


def _given(headers: Mapping[str, Any]) -> dict[str, str]:
    return {
        _header_name(name): _header_value(name, str(value))
        for name, value in headers.items()
        if value is not None
    }


def _header_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"header {name!r}: expected a name of letters, digits and -")
    return name.lower()


def _header_value(name: str, value: str) -> str:
    """Check a header's value; one with a line break would be two headers."""
    if not value or not value.isascii() or not value.isprintable():
        raise ValueError(f"header {name} is empty, or holds what a header cannot")
    return value
