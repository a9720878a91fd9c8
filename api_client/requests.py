"""Building the requests of the run API. Pure functions: nothing here sends anything.

Paths are relative to the base URL. An argument left out (`OMIT`) is left out of the JSON; an
explicit None is sent as null: to Skyvern the two are not the same.
"""

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Literal, TypedDict
from urllib.parse import quote, urlencode

import httpx
import orjson

RunKind = Literal["task", "workflow"]

#: Where a run of each kind is submitted.
SUBMIT_PATHS: Final[Mapping[RunKind, str]] = {
    "task": "v1/run/tasks",
    "workflow": "v1/run/workflows",
}

#: The list of runs, one item of it: the cheapest read that needs the key.
KEY_CHECK_PATH = "v1/runs"
KEY_CHECK_QUERY = "page=1&page_size=1"

_USER_AGENT = "runqueue"


class Omit(Enum):
    """The type of `OMIT`."""

    OMIT = "omit"

    def __repr__(self) -> str:
        return "OMIT"


#: "Not given", where None means null.
OMIT: Final = Omit.OMIT


class RequestOptions(TypedDict, total=False):
    """What one call may set for itself.

    Keys:
        timeout_in_seconds: how long one attempt may take.
        max_retries: how often to try again, where trying again is safe; 0 = never.
        additional_headers, additional_query_parameters, additional_body_parameters: sent as well;
            they go before what the call itself would send.
    """

    timeout_in_seconds: float
    max_retries: int
    additional_headers: Mapping[str, str]
    additional_query_parameters: Mapping[str, Any]
    additional_body_parameters: Mapping[str, Any]


def check_options(options: RequestOptions | None) -> RequestOptions:
    """Return the options, after refusing a name that is none of them.

    Raises:
        TypeError: an unknown key; nothing would come of it, silently.
    """
    given = options or {}
    if unknown := sorted(set(given) - RequestOptions.__annotations__.keys()):
        known = ", ".join(RequestOptions.__annotations__)
        raise TypeError(f"unknown request_options {', '.join(unknown)}; there are: {known}")
    return given


@dataclass(frozen=True, slots=True)
class Call:
    """One POST as its arguments give it, before a call's options are added.

    Attributes:
        path: relative to the base URL.
        fields: the JSON body's; none = no body is sent.
        headers: those that carry arguments.
        query: those that go into the query string.
    """

    path: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, Any] = field(default_factory=dict)


def run_path(run_id: str) -> str:
    """Return the path of a run.

    Raises:
        ValueError: the id is empty (the path would be that of the list).
    """
    if not run_id:
        raise ValueError("run_id is empty")
    encoded = quote(run_id, safe="")
    # A segment of dots would climb up the path; `quote` leaves dots alone.
    return "v1/runs/" + (encoded.replace(".", "%2E") if not run_id.strip(".") else encoded)


def cancel_path(run_id: str) -> str:
    """Return the path that cancels a run; raises as `run_path` does."""
    return run_path(run_id) + "/cancel"


def run_headers(
    *, user_agent: str | Omit | None = None, max_steps_override: int | Omit | None = None
) -> dict[str, str]:
    """Return the headers that carry arguments of a submission; one that is None is absent."""
    given = {"x-user-agent": user_agent, "x-max-steps-override": max_steps_override}
    return {name: str(v) for name, v in given.items() if v is not None and v is not OMIT}


def json_body(fields: Mapping[str, Any], additional: Mapping[str, Any] | None = None) -> bytes:
    """Serialise the arguments of a call: `OMIT` left out, None as null.

    Raises:
        TypeError: a value that JSON has no word for.
    """
    given = {name: value for name, value in fields.items() if value is not OMIT}
    try:
        return orjson.dumps(given | dict(additional or {}))
    except orjson.JSONEncodeError as exc:
        raise TypeError(f"the arguments cannot be sent as JSON: {exc}") from exc


def query_string(fields: Mapping[str, Any], additional: Mapping[str, Any] | None = None) -> str:
    """Encode query parameters; None and `OMIT` are left out, a list gives one pair an item."""
    given = dict(fields) | dict(additional or {})
    pairs = {name: _query_value(v) for name, v in given.items() if v is not None and v is not OMIT}
    return urlencode(pairs, doseq=True)


def _query_value(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return [_query_value(item) for item in value]
    return value


class RequestFactory:
    """Make requests to one base URL with one key; what they share is prepared once.

    Args:
        base_url: `http` or `https`, with or without a path of its own, no query.
        api_key: goes into the header `x-api-key` and nowhere else.

    Raises:
        ValueError: a base URL or a key that cannot be sent. The message does not show the key.
    """

    def __init__(self, base_url: str, api_key: str) -> None:
        url = _checked_base_url(base_url)
        self.base_url = str(url).rstrip("/") + "/"
        self._headers = [
            (b"host", url.netloc),
            (b"x-api-key", _header_value("x-api-key", api_key)),
            (b"accept", b"application/json"),
            (b"accept-encoding", b"gzip, deflate"),
            (b"user-agent", _USER_AGENT.encode()),
        ]
        self._get_headers = httpx.Headers(self._headers)
        self._base = httpx.URL(self.base_url)

    def __repr__(self) -> str:
        return f"RequestFactory({self.base_url!r})"

    def url(self, path: str, query: str = "") -> httpx.URL:
        """Return the whole URL of a path and a query, both percent-encoded already."""
        # httpx parses a URL in 25 us, a tenth of what a job's two calls may cost; scheme and host
        # were parsed once, and there is no public way to give them another path unparsed. A test
        # holds the result equal to the parsed one.
        whole = copy(self._base)
        parts = self._base._uri_reference  # noqa: SLF001
        whole._uri_reference = parts._replace(  # noqa: SLF001
            path=parts.path + path, query=query or None
        )
        return whole

    def get(
        self,
        path: str,
        *,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> httpx.Request:
        """Make a GET; `timeout` in seconds for all of it, None = the transport's."""
        return httpx.Request(
            "GET",
            self.url(path, query),
            headers=self._with(headers) if headers else self._get_headers,
            stream=httpx.ByteStream(b""),
            extensions=_timeout(timeout),
        )

    def post(
        self,
        path: str,
        content: bytes = b"",
        *,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> httpx.Request:
        """Make a POST of a JSON body, or of none; `timeout` as in `get`.

        Raises:
            ValueError: a header that cannot be sent.
        """
        own = [*self._headers, (b"content-length", b"%d" % len(content))]
        if content:
            own.append((b"content-type", b"application/json"))
        return httpx.Request(
            "POST",
            self.url(path, query),
            headers=self._with(headers, own) if headers else own,
            # A stream spares httpx its own work on headers that are whole already.
            stream=httpx.ByteStream(content),
            extensions=_timeout(timeout),
        )

    def _with(
        self, headers: Mapping[str, str], own: list[tuple[bytes, bytes]] | None = None
    ) -> httpx.Headers:
        """Return our headers with the caller's; of two with one name the caller's stays."""
        given = {n.lower().encode("ascii"): _header_value(n, v) for n, v in headers.items()}
        kept = [pair for pair in own or self._headers if pair[0] not in given]
        return httpx.Headers([*kept, *given.items()])


def redirected(
    request: httpx.Request, location: str | None, timeout: float | None
) -> httpx.Request | None:
    """Return the same request to where the server says, if that is the same server; else None.

    The key goes nowhere else: the host stays, and the port, but for `http` to `https`.

    Args:
        request: the request that was redirected.
        location: the `Location` header, absolute or relative.
        timeout: seconds left for it.
    """
    try:
        url = request.url.join(location or "")
    except (httpx.InvalidURL, ValueError):
        return None
    if not location or not _same_server(request.url, url):
        return None
    headers = [(n, url.netloc if n == b"host" else v) for n, v in request.headers.raw]
    return httpx.Request(
        request.method,
        url,
        headers=headers,
        stream=request.stream,
        extensions=request.extensions | _timeout(timeout),
    )


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
    if url.query or url.fragment or url.userinfo:
        raise ValueError("base_url takes no query, fragment or user name")
    return url


def _header_value(name: str, value: str) -> bytes:
    """Encode a header's value; one with a line break would be two headers."""
    if not value or not value.isascii() or not value.isprintable():
        raise ValueError(f"header {name} is empty, or holds what a header cannot")
    return value.encode("ascii")


def _timeout(seconds: float | None) -> dict[str, Any]:
    return {} if seconds is None else {"timeout": {"read": seconds}}
