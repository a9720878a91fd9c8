"""Logging: structlog, one JSON object a line, or readable lines at a terminal.

Nothing ever logs a request's body, a header, a key or the server's words (which may quote any of
them): events carry ids, states, statuses and counts. The words stand in the job's record.
"""

import logging
import sys

import structlog

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


def setup_logging(level: str = "INFO") -> None:
    """Send structlog's and the standard library's logs to stderr.

    Args:
        level: DEBUG, INFO, WARNING or ERROR.
    """
    number = logging.getLevelNamesMapping()[level]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer()
        if sys.stderr.isatty()
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            renderer,
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    handler.addFilter(_without_bodies)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(number, logging.INFO))
    logging.getLogger("celery").setLevel(max(number, logging.WARNING))
