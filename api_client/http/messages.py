"""A request and an answer, as our own transports take and give them.

httpx's types cost a quarter of a call; they are made only where an httpx transport is to send.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


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
