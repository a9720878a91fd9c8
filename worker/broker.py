"""kombu's Redis transport, which here outlives a message that it cannot read.

Anybody can push bytes onto the broker's list. kombu raises what parsing them raised, Celery takes
that for its own end, and each worker that pops such a message stops. Messages carry no state here,
so one that cannot be read is dropped.
"""

from typing import Any

import structlog
from kombu.transport import redis

log = structlog.get_logger()

#: What reading a message raises that is no JSON, no object, or without the fields of a message.
_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, IndexError)


class Channel(redis.Channel):
    """A channel that drops what is no message."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except _UNREADABLE as error:
            # Without the traceback: it would quote the bytes, which are not ours to log.
            log.error("message_dropped", error=type(error).__name__)  # noqa: TRY400
            return True


class Transport(redis.Transport):
    """kombu's Redis transport with such a channel."""

    Channel = Channel
