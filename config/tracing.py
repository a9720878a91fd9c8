"""Traces of a worker or a gateway: sent by OTLP if the environment enables it.

OpenTelemetry's own variables decide, the environment's alone: OTEL_EXPORTER_OTLP_ENDPOINT (or
…_TRACES_ENDPOINT) turns it on, OTEL_SDK_DISABLED=true and OTEL_TRACES_EXPORTER=none turn it off. A
provider that somebody else has set, such as `opentelemetry-instrument`, stays.
"""

import os
from collections.abc import Callable

import structlog

log = structlog.get_logger()

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def _nothing() -> None:
    """Send nothing."""


def is_wanted() -> bool:
    """Say whether the environment enables traces."""
    is_off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    exporter = os.environ.get("OTEL_TRACES_EXPORTER") or "otlp"
    return any(map(os.environ.get, _ENDPOINTS)) and not is_off and exporter == "otlp"


def setup_tracing(service: str) -> Callable[[], None]:
    """Begin to send traces, if enabled; returns the function that sends the last of them.

    Args:
        service: the name of this process, unless OTEL_SERVICE_NAME sets another.
    """
    if not is_wanted():
        return _nothing
    try:
        from opentelemetry import trace  # noqa: PLC0415 - comes with the extra `otel`
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        log.warning("traces_not_sent", why=f"pip install 'runqueue[otel]' ({error})")
        return _nothing
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return _nothing
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": service}
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    log.info("traces_sent", service=named.get("service.name") or os.environ["OTEL_SERVICE_NAME"])
    shutdown: Callable[[], None] = provider.shutdown
    return shutdown
