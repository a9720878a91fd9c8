"""Logging: structlog, one JSON object a line, or readable lines at a terminal.

Nothing ever logs a request's body, a header, a key or the server's words (which may quote any of
them): events carry ids, states, statuses and counts. The words stand in the job's record. What gets
in all the same is taken out at the last moment (`config/redaction.py`).
"""

import logging
import sys
from collections.abc import Iterable, MutableMapping
from typing import Any

import structlog

from config.redaction import Redactor

#: The logger of what people did and were refused (`runqueue/audit.py`).
AUDIT = "runqueue.audit"
#: Where Celery logs a message that it does not take, with all that stands in it.
_DUMPING = frozenset(
    {"on_decode_error", "on_invalid_task", "on_unknown_message", "on_unknown_task"}
)


def _without_bodies(record: logging.LogRecord) -> bool:
    """Take what producers put into messages out of what Celery logs."""
    if record.funcName in _DUMPING and record.name.startswith("celery."):
        record.msg, record.args = f"a message was dropped ({record.funcName})", None
        record.exc_info = record.exc_text = None
    data = record.__dict__.get("data")
    if isinstance(data, dict):
        record.data = {name: data[name] for name in data.keys() - {"args", "kwargs"}}
    return True


def _with_trace(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Name the trace that a line belongs to, where OpenTelemetry is in use."""
    del logger, method
    trace = sys.modules.get("opentelemetry.trace")
    current = getattr(trace, "get_current_span", None)
    context = current().get_span_context() if current else None
    if context is not None and context.is_valid:
        event["trace_id"] = f"{context.trace_id:032x}"
        event["span_id"] = f"{context.span_id:016x}"
    return event


def setup_logging(level: str = "INFO", secrets: Iterable[str] = ()) -> None:
    """Send structlog's and the standard library's logs to stderr.

    The audit log (`runqueue.audit`) is JSON at a terminal, too, and has no level: programs read it.

    Args:
        level: DEBUG, INFO, WARNING or ERROR.
        secrets: what no line may hold, besides what looks like a secret.
    """
    redact = Redactor(secrets)
    number = logging.getLevelNamesMapping()[level]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _with_trace,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer()
        if sys.stderr.isatty()
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, redact, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = _handler(shared, redact, renderer)
    handler.addFilter(_without_bodies)
    handler.addFilter(lambda record: record.name != AUDIT)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(number, logging.INFO))
    logging.getLogger("celery").setLevel(max(number, logging.WARNING))
    audit = logging.getLogger(AUDIT)
    named = [*shared, structlog.stdlib.add_logger_name]
    audit.handlers[:] = [_handler(named, redact, structlog.processors.JSONRenderer())]
    audit.setLevel(logging.INFO)


def _handler(
    first: list[structlog.typing.Processor], redact: Redactor, renderer: structlog.typing.Processor
) -> logging.Handler:
    """Return what writes the standard library's lines to stderr."""
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*first, structlog.stdlib.ExtraAdder()],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            redact,
            renderer,
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    return handler
