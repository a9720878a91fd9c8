"""One HTTP call as its arguments give it; nothing here sends anything."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, Literal, TypeVar

from api_client.arguments import RequestOptions, check_options, json_body, query_string

T_co = TypeVar("T_co", covariant=True)


class CallKind(StrEnum):
    """What a call does, which decides on its limits and on whether it may be made again."""

    SUBMISSION = "submission"
    READ = "read"
    CANCEL = "cancel"
    WEBHOOK = "webhook"
    #: Anything else that changes something: sessions, tags.
    CHANGE = "change"


@dataclass(slots=True)
class Call(Generic[T_co]):
    """One call, ready to be sent.

    Attributes:
        kind: what it does.
        path: relative to the base URL, encoded.
        read: makes the result of a 2xx answer's JSON; a ValueError means that it is not what the
            call promises.
        query: encoded, without the question mark.
        content: the body; empty = none.
        headers: more headers.
        options: the caller's `request_options`.
        patience: seconds an attempt may take, where neither the caller nor the client says so;
            None = the client's default.
        route: the name of an endpoint that not every server has; None = every server has it.
        limit: seconds for all attempts, whatever the caller and the client say; None = no more.
        once: it is made once, whatever the caller, the client and the answer say.
    """

    kind: CallKind
    path: str
    read: Callable[[Any], T_co]
    query: str = ""
    content: bytes = b""
    headers: Mapping[str, Any] | None = None
    options: RequestOptions | None = None
    patience: float | None = None
    route: str | None = None
    limit: float | None = None
    once: bool = False

    @property
    def method(self) -> Literal["GET", "POST"]:
        """The HTTP method."""
        return "GET" if self.kind is CallKind.READ else "POST"


def make_call(
    kind: CallKind,
    path: str,
    read: Callable[[Any], T_co],
    *,
    fields: Mapping[str, Any] | None = None,
    query: Mapping[str, Any] | None = None,
    headers: Mapping[str, Any] | None = None,
    request_options: RequestOptions | None = None,
    patience: float | None = None,
    route: str | None = None,
    once: bool = False,
) -> Call[T_co]:
    """Put a call together from its arguments and its options; the options' additions win.

    Raises:
        TypeError, ValueError: arguments or options that cannot be sent.
    """
    options = None if request_options is None else check_options(request_options)
    if options:
        fields = {**(fields or {}), **(options.get("additional_body_parameters") or {})}
        query = {**(query or {}), **(options.get("additional_query_parameters") or {})}
        headers = {**(headers or {}), **(options.get("additional_headers") or {})}
    return Call(
        kind,
        path,
        read,
        query=query_string(query) if query else "",
        content=json_body(fields) if fields else b"",
        headers=headers,
        options=options or None,
        patience=patience,
        route=route,
        once=once,
    )
