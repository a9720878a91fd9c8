"""kombu's Redis transport and connection, which outlive unreadable messages and lost connections.

Anybody can push bytes onto the broker's list. kombu raises what parsing them raised, Celery takes
that for its own end, and each worker that pops such a message stops. One that cannot be read is
dropped.

When a connection is lost, kombu puts the messages that are worked on back into the broker's list,
and later acknowledges them over what is left of it. Where it cannot (it has forgotten the address
by then), Celery takes that for its own end, too. They come again anyway, when their visibility
timeout is over, and coming twice does no harm.

A Redis that takes no writes for a while (its disk is full, its replicas are away) refuses even the
reading of a list, since that takes from it. It is asked again a second later; from one that has
become a replica Celery turns to the address anew.

Celery waits longer before each further try to connect, up to 30 s, and has no setting for it: after
a minute's partition a worker would take no message for ten seconds.
"""

import time
from typing import Any

import structlog
from celery.app.amqp import AMQP
from celery.worker import state
from kombu import connection
from kombu.transport import redis
from redis.exceptions import RedisError, ResponseError

from runqueue.connection.redis_errors import is_of_a_replica

log = structlog.get_logger()

#: What reading a message raises that is no JSON, no object, or without the fields of a message.
_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, IndexError)
#: Seconds until a broker that refused to give a message is asked again.
PAUSE_SECONDS = 1.0
#: Seconds in which a message is noted as worked on: half of what the broker keeps one that is. One
#: try may take as long as the broker's socket waits; a process that is to end begins no other.
NOTE_SECONDS = 30.0
#: Seconds between two tries to connect, however many failed.
RECONNECT_SECONDS = 1.0


def _is_ending() -> bool:
    """Say whether Celery was asked to end; its loop, which waits here, has yet to see it."""
    flags = state.should_stop, state.should_terminate
    return any(flag is not None and flag is not False for flag in flags)  # 0 is an exit code


class QoS(redis.QoS):
    """What is worked on; it comes again by time, so nothing else about it has to succeed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]
        #: Tags of messages that the broker has no note of: none but this process has them.
        self._unnoted: set[str] = set()

    def append(self, message: Any, delivery_tag: Any) -> None:
        """Note a message that is worked on, as soon as the broker takes the note.

        It is off the broker's list already: where this fails for long, or the process is to end,
        it is worked on unnoted.
        """
        end = time.monotonic() + NOTE_SECONDS
        self._unnoted.add(delivery_tag)
        while not self._note(message, delivery_tag):
            if time.monotonic() > end or _is_ending():
                super(redis.QoS, self).append(message, delivery_tag)  # type: ignore[no-untyped-call]
                return
            time.sleep(PAUSE_SECONDS)

    def _note(self, message: Any, delivery_tag: Any) -> bool:
        try:
            super().append(message, delivery_tag)  # type: ignore[no-untyped-call]
        except (RedisError, OSError) as error:
            log.warning("message_not_noted", error=str(error))
            if isinstance(error, ResponseError) and is_of_a_replica(error):
                # The next try goes to where the address leads by then.
                self.channel.pool.disconnect(inuse_connections=False)
            return False
        self._unnoted.discard(delivery_tag)
        return True

    def ack(self, delivery_tag: Any) -> None:
        """Acknowledge a message, unless its connection is gone."""
        self._unnoted.discard(delivery_tag)
        if not self.channel.closed:
            try:
                super().ack(delivery_tag)  # type: ignore[no-untyped-call]
            except ResponseError as error:
                self._leave(delivery_tag, error)

    def reject(self, delivery_tag: Any, requeue: bool = False) -> None:
        """Give a message back, unless its connection is gone."""
        if not self.channel.closed:
            # What is given back is read from the note. Without one it waits for the channel's end.
            is_unnoted = requeue and delivery_tag in self._unnoted
            if is_unnoted and not self._note(self._delivered[delivery_tag], delivery_tag):
                return
            try:
                super().reject(delivery_tag, requeue)  # type: ignore[no-untyped-call]
            except ResponseError as error:
                self._leave(delivery_tag, error)

    def _leave(self, delivery_tag: Any, error: Exception) -> None:
        """Forget a message here that the broker goes on taking for one that is worked on."""
        log.warning("messages_come_later", error=str(error))
        super(redis.QoS, self).ack(delivery_tag)  # type: ignore[no-untyped-call]

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Put what is worked on back into the broker's list, if the broker can be reached."""
        for tag in self._unnoted & self._delivered.keys():
            if not self._note(self._delivered[tag], tag):
                break  # one try is enough to see it
        try:
            super().restore_unacked_once(stderr)  # type: ignore[no-untyped-call]
        except Exception as error:  # noqa: BLE001 - it must not be the worker's end
            log.warning("messages_come_later", error=str(error))


class Channel(redis.Channel):
    """A channel that drops what is no message."""

    QoS = QoS

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except _UNREADABLE as error:
            # Without the traceback: it would quote the bytes, which are not ours to log.
            log.error("message_dropped", error=type(error).__name__)  # noqa: TRY400
            return True
        except ResponseError as error:
            if is_of_a_replica(error):
                raise
            log.warning("broker_refuses", error=str(error))
            time.sleep(PAUSE_SECONDS)
            return True


class Transport(redis.Transport):
    """kombu's Redis transport with such a channel."""

    Channel = Channel


class BrokerConnection(connection.Connection):
    """A connection that is tried again at the same short interval, however many tries failed."""

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Return the connection once it is made; arguments as kombu's, intervals apart."""
        kwargs.update(interval_start=RECONNECT_SECONDS, interval_step=0.0)
        return super().ensure_connection(*args, **kwargs)  # type: ignore[no-untyped-call]


class ReconnectingAMQP(AMQP):
    """Celery's AMQP interface with such connections."""

    Connection = BrokerConnection
