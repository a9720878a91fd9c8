"""Traces: where a job comes from travels with it, and what is done with it is recorded as spans.

The W3C trace context (`traceparent`) of the caller who enqueues a job is stored with it, if that
is sampled. Workers and gateways report what they do with such a job as spans of that trace. The
names of spans and attributes follow OpenTelemetry's conventions for messaging.

OpenTelemetry is never imported here: a process that has a tracer provider has imported it. Without
one nothing is stored, and nothing costs more than a look into `sys.modules`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Literal, NamedTuple

#: What a job may bring: version, trace, span and flags; a later version may have more behind.
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-((?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(?:-.{0,200})?"
)
#: The same for JSON Schema.
TRACEPARENT_PATTERN = f"^{_TRACEPARENT.pattern}$"
_SAMPLED = 1
_SYSTEM = "runqueue"

#: The context of a caller, for processes without OpenTelemetry, which only pass it on.
_given: ContextVar[str] = ContextVar("runqueue_traceparent", default="")

Attribute = str | int | float | bool
Kind = Literal["PRODUCER", "CONSUMER", "CLIENT", "INTERNAL"]


def read_traceparent(text: object) -> str:
    """Return a traceparent as it is stored; '' if it is none, or if its trace is not sampled."""
    match = _TRACEPARENT.fullmatch(text) if isinstance(text, str) else None
    if match is None or not int(match[1][-2:], 16) & _SAMPLED:
        return ""
    return f"00-{match[1]}"


def is_traceparent(text: object) -> bool:
    """Say whether something is a traceparent, sampled or not."""
    return isinstance(text, str) and _TRACEPARENT.fullmatch(text) is not None


def _api() -> Any:
    """Return OpenTelemetry's `trace`, if this process has set a provider; else None."""
    api = sys.modules.get("opentelemetry.trace")
    # A thread may be importing it just now.
    provider = getattr(api, "get_tracer_provider", None)
    if api is None or provider is None or isinstance(provider(), api.ProxyTracerProvider):
        return None
    return api


def is_on() -> bool:
    """Say whether spans are recorded in this process."""
    return _api() is not None


def ambient() -> str:
    """Return the traceparent of what is going on here; '' = none, or one that is not sampled."""
    api = _api()
    if api is not None:
        context = api.get_current_span().get_span_context()
        if context.is_valid:
            return _text(context) if context.trace_flags & _SAMPLED else ""
    return _given.get()


def _text(context: Any) -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


@contextmanager
def continuing(traceparent: str | None) -> Iterator[None]:
    """Go on with a caller's trace within the block; what is no traceparent changes nothing."""
    found = read_traceparent(traceparent)
    if not found:
        yield
        return
    token = _given.set(found)
    api = _api()
    try:
        with api.use_span(_remote(api, found)) if api else nullcontext():
            yield
    finally:
        _given.reset(token)


def _remote(api: Any, traceparent: str) -> Any:
    _, trace, span, flags = traceparent.split("-")
    context = api.SpanContext(
        int(trace, 16), int(span, 16), is_remote=True, trace_flags=api.TraceFlags(int(flags, 16))
    )
    return api.NonRecordingSpan(context)


class SpanUnderWay:
    """A span under way; where none is recorded, it does nothing."""

    def __init__(self, api: Any = None, span: Any = None) -> None:
        self._api = api
        self._span = span

    def set_attributes(self, **attributes: Attribute | None) -> None:
        """Add attributes; `__` in a name stands for a dot, and None is not added."""
        if self._span is not None:
            self._span.set_attributes(_named(attributes))

    def fail(self, kind: str) -> None:
        """Say that it went wrong, and how, in a word: words may quote what is nobody's business."""
        if self._span is not None:
            self._span.set_attribute("error.type", kind)
            self._span.set_status(self._api.StatusCode.ERROR)


_NO_STEP: AbstractContextManager[SpanUnderWay] = nullcontext(SpanUnderWay())


def enqueuing() -> AbstractContextManager[SpanUnderWay]:
    """Report the enqueue of jobs as a span; its context is stored with them."""
    api = _api()
    if api is None:
        return _NO_STEP
    attributes: dict[str, Attribute] = {
        "messaging.system": _SYSTEM,
        "messaging.operation.name": "enqueue",
        "messaging.operation.type": "send",
    }
    return _recorded(api, "enqueue", "PRODUCER", None, attributes)


class Origin(NamedTuple):
    """An attempt of a job, and the trace that the job belongs to; '' = none."""

    account: str
    job_id: str
    attempt: int
    traceparent: str


def working(name: str, kind: Kind, origin: Origin) -> AbstractContextManager[SpanUnderWay]:
    """Record a step of a job as a span of its producer's trace, if it has one.

    Args:
        name: the step, in a word.
        kind: CONSUMER for what a worker does with the job, CLIENT for what it asks of others.
        origin: whose step.
    """
    api = _api() if origin.traceparent else None
    if api is None:
        return _NO_STEP
    title, attributes = f"{name} {origin.account}", _of_job(name, kind, origin)
    return _recorded(api, title, kind, _remote(api, origin.traceparent), attributes)


def record_past(
    name: str,
    origin: Origin,
    start: datetime | None,
    end: datetime | None,
    **more: Attribute | None,
) -> None:
    """Record what is over as a span from start to end, each None = now; `more`: its attributes."""
    api = _api() if origin.traceparent else None
    if api is None:
        return
    parent = api.set_span_in_context(_remote(api, origin.traceparent))
    span = api.get_tracer(_SYSTEM).start_span(
        f"{name} {origin.account}",
        context=parent,
        kind=api.SpanKind.INTERNAL,
        attributes=_of_job(name, "INTERNAL", origin) | _named(more),
        start_time=_nanoseconds(start),
    )
    span.end(_nanoseconds(end))


def _nanoseconds(at: datetime | None) -> int | None:
    return None if at is None else int(at.timestamp() * 1e9)


def _of_job(name: str, kind: Kind, origin: Origin) -> dict[str, Attribute]:
    found: dict[str, Attribute] = {
        "messaging.system": _SYSTEM,
        "messaging.destination.name": origin.account,
        "messaging.message.id": origin.job_id,
        "runqueue.attempt": origin.attempt,
    }
    if kind == "CONSUMER":
        found |= {"messaging.operation.name": name, "messaging.operation.type": "process"}
    return found


def _named(attributes: dict[str, Attribute | None]) -> dict[str, Attribute]:
    return {
        name.replace("__", "."): value for name, value in attributes.items() if value is not None
    }


@contextmanager
def _recorded(
    api: Any, name: str, kind: Kind, parent: Any, attributes: dict[str, Attribute]
) -> Iterator[SpanUnderWay]:
    # An exception's words are kept out: they may quote a request.
    with api.get_tracer(_SYSTEM).start_as_current_span(
        name,
        context=None if parent is None else api.set_span_in_context(parent),
        kind=api.SpanKind[kind],
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        step = SpanUnderWay(api, span)
        try:
            yield step
        except BaseException as error:
            step.fail(type(error).__name__)
            raise
