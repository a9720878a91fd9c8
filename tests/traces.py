"""Spans as a test sees them: the SDK's own provider and exporter, in memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


@contextmanager
def collected() -> Iterator[Any]:
    """Set a provider for the block; yields the exporter that has what was told.

    OpenTelemetry lets a provider be set once a process: it is taken away by hand.
    """
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    held: Any = trace
    before = held._TRACER_PROVIDER
    held._TRACER_PROVIDER = provider
    try:
        yield exporter
    finally:
        held._TRACER_PROVIDER = before
        provider.shutdown()


def named(exporter: Any, name: str) -> list[Any]:
    """Return the spans of a name that were told so far."""
    return [span for span in exporter.get_finished_spans() if span.name == name]
