"""Logging: structlog, one JSON object a line, or readable lines at a terminal.

Nothing ever logs a request's body, a header, a key or the server's error text (which may quote any
of them): events carry ids, states, statuses and counts. The error text is in the job's record. What
gets in all the same is removed at the last moment (`config/redaction.py`).
"""

import logging
import sys
import threading
from collections.abc import Iterable, MutableMapping
from types import TracebackType
from typing import Any

import structlog

from config.redaction import Redactor

#: The logger of users' actions and refusals (`runqueue/store/audit.py`).
AUDIT = "runqueue.audit"
#: Where Celery logs a message that it does not take, with its whole content.
_DUMPING = frozenset(
    {"on_decode_error", "on_invalid_task", "on_unknown_message", "on_unknown_task"}
)

#: Not structlog's: what Python ignores may come up while a line is written, within its lock.
_uncaught = logging.getLogger("uncaught")


def _without_bodies(record: logging.LogRecord) -> bool:
    """Remove the content of producers' messages from Celery's log lines."""
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
        secrets: values that no line may hold, besides all that look like secrets.
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
        # One write a line: lines of processes that share a file are not mixed.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = _handler(shared, redact, renderer)
    handler.addFilter(_without_bodies)
    handler.addFilter(lambda record: record.name != AUDIT)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(number, logging.INFO))
    for name in ("celery", "alembic"):
        logging.getLogger(name).setLevel(max(number, logging.WARNING))
    audit = logging.getLogger(AUDIT)
    named = [*shared, structlog.stdlib.add_logger_name]
    audit.handlers[:] = [_handler(named, redact, structlog.processors.JSONRenderer())]
    audit.setLevel(logging.INFO)


def log_what_python_prints() -> None:
    """Log Python's warnings, and errors that nothing caught, for the whole process.

    Python would write them to stderr as they are, with the secrets that they may hold.
    """
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread
    sys.unraisablehook = _log_ignored


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        _uncaught.critical("uncaught_error", exc_info=(kind, error, trace))


def _log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is None or isinstance(args.exc_value, SystemExit):
        return
    name = args.thread.name if args.thread is not None else None
    trouble = (args.exc_type, args.exc_value, args.exc_traceback)
    _uncaught.error("uncaught_error", exc_info=trouble, extra={"where": name})


def _log_ignored(args: "sys.UnraisableHookArgs") -> None:
    if args.exc_value is None or sys.is_finalizing():  # loggers may be gone by then
        sys.__unraisablehook__(args)
        return
    trouble = (args.exc_type, args.exc_value, args.exc_traceback)
    _uncaught.error("uncaught_error", exc_info=trouble, extra={"where": args.err_msg})


def _handler(
    first: list[structlog.typing.Processor], redact: Redactor, renderer: structlog.typing.Processor
) -> logging.Handler:
    """Return the handler that writes the standard library's lines to stderr."""
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
