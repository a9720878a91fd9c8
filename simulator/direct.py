"""Calls of the API without a web server: what its handlers read of a request, made by hand."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import parse_qsl, urlsplit

from aiohttp import web
from multidict import CIMultiDict, MultiDict

from simulator.api import RunApi
from simulator.replies import RefusedError, not_found
from simulator.routes import CALLS, RouteCall

_ROUTES = [
    (call, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", call.path) + r"\Z")) for call in CALLS
]


@dataclass(slots=True)
class DirectRequest:
    """What the simulator's handlers read of an aiohttp request."""

    path: str
    query: MultiDict[str]
    headers: CIMultiDict[str]
    match_info: dict[str, str]
    content: bytes = field(repr=False)

    @property
    def content_type(self) -> str:
        """The type of the body."""
        return self.headers.get("content-type", "application/octet-stream").partition(";")[0]

    async def read(self) -> bytes:
        """Return the body."""
        return self.content


def find_call(
    method: str, url: str, headers: Mapping[str, str], content: bytes, keys: Container[str]
) -> tuple[RouteCall, DirectRequest]:
    """Return the call that a request makes, and the request.

    Args:
        method, url, headers, content: the request's.
        keys: the API keys that are accepted.

    Raises:
        RefusedError: there is no such call, or it needs another key.
    """
    parts = urlsplit(url)
    for call, pattern in _ROUTES:
        if call.method == method and (found := pattern.match(parts.path)):
            query = MultiDict(parse_qsl(parts.query, keep_blank_values=True))
            given = CIMultiDict(headers)
            if not call.open and given.get("x-api-key") not in keys:
                raise RefusedError(403, "Invalid credentials")
            return call, DirectRequest(parts.path, query, given, found.groupdict(), content)
    raise not_found()


async def answer_of(call: RouteCall, api: RunApi, request: DirectRequest) -> web.Response:
    """Make a call; raises RefusedError as its handler does."""
    return await call.answer(api, cast(web.Request, request))
