"""The Celery application: `celery -A worker.app worker` is all it takes.

Beside `__main__` the only module that imports Celery. Messages carry no state: one means that
there may be work.
"""

import sys
from collections.abc import Callable
from functools import cached_property
from typing import Any

import structlog
from celery import Celery, bootsteps, signals
from celery.apps import worker as celery_worker
from celery.apps.worker import Worker as CeleryWorker
from celery.exceptions import Reject
from celery.worker import strategy
from celery.worker.state import maybe_shutdown

from config.collector import calm_collector
from config.logging import log_what_python_prints, setup_logging
from config.settings import (
    PRODUCER_QUEUE,
    STAGE_QUEUE,
    Settings,
    SettingsError,
    broker_url,
    load_settings,
    not_configured,
    unknown_variables,
)
from config.tracing import setup_tracing
from runqueue import EvictingRedis, OtherFormat, QueueUnavailable
from runqueue.connection.client import find_url
from runqueue.errors import AmbiguousAccounts
from runqueue.request.request_checks import use_checks
from runqueue.server_version import version_mismatch
from runqueue.store.accounts import check_names
from runqueue.store.live_processes import STAGES
from worker.celery_intake import NotNow
from worker.process.metrics_server import serve_metrics
from worker.runtime import Runtime
from worker.stages.consumer import ConsumerEnd
from worker.ticker import TickerThread

log = structlog.get_logger()

#: Messages of producers (`runqueue.enqueue`) that one process works on at once.
PRODUCERS = 4
#: The header that has a message's ETA once Celery is not to wait for that time.
RUN_AT_HEADER = "runqueue-run-at"


def _settings_or_exit() -> tuple[Settings, str, str]:
    if mismatch := version_mismatch():
        sys.exit(f"runqueue: {mismatch}")
    try:
        settings = load_settings()
        check_names(settings.all_accounts())
        url = find_url(settings.redis_url)
        return settings, url, broker_url(settings, url)
    except (SettingsError, AmbiguousAccounts, QueueUnavailable) as error:
        raise not_configured(error) from None


settings, redis_url, broker = _settings_or_exit()
use_checks(settings.request_checks)


class _Worker(CeleryWorker):
    """A worker without gossip, mingle and heartbeat events: they have flags, but no setting.

    It takes messages from both queues, whatever `-Q` names: the stages stand still without theirs.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _setup_logging()  # before Celery's first warning
        if not sys.stdout.isatty():
            _say_nothing_but_logs(kwargs)
        kwargs.update(without_gossip=True, without_mingle=True, without_heartbeat=True)
        if kwargs.get("queues") or kwargs.get("exclude_queues"):
            log.warning("queues_ignored", taken_from=[STAGE_QUEUE, PRODUCER_QUEUE])
        kwargs.update(queues=None, exclude_queues=None)
        super().__init__(*args, **kwargs)


class _App(Celery):
    amqp_cls = "worker.kombu_transport:ReconnectingAMQP"

    @cached_property
    def Worker(self) -> Any:  # noqa: N802 - Celery's name
        return self.subclass_with_self(_Worker)


app = _App("runqueue", broker=broker)
app.conf.update(
    task_default_queue=STAGE_QUEUE,
    task_ignore_result=True,
    result_backend=None,
    worker_pool="threads",
    # A consumer holds a thread while it runs: one a stage and account, and one for the sweep.
    worker_concurrency=(len(STAGES) + 1) * len(settings.all_accounts()) + PRODUCERS,
    worker_prefetch_multiplier=1,
    worker_disable_prefetch=True,
    # A thread cannot be ended; what it enqueues has keys, so it may be enqueued twice.
    worker_cancel_long_running_tasks_on_connection_loss=False,
    worker_send_task_events=False,
    # Celery would obey any writer to the broker: `shutdown`, `pool_restart`, `inspect conf`.
    worker_enable_remote_control=False,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    broker_transport="worker.kombu_transport:Transport",
    broker_connection_max_retries=None,
    broker_connection_retry_on_startup=True,
    # What the broker refuses (it has no disk, or is a replica by now) ends no worker either.
    broker_channel_error_retry=True,
    # Without a socket timeout kombu can hang a worker for good.
    broker_transport_options={
        "socket_timeout": 5,
        "socket_connect_timeout": 3,
        "socket_keepalive": True,
        "health_check_interval": 5,
        # A producer's message comes again so long after its worker was killed; a stage's is never
        # left unacknowledged.
        "visibility_timeout": 60,
        "unacked_restore_interval": 10,
        "unacked_restore_throttle": 1,
    },
)


def send(stage: str, account: str, tick_us: int) -> None:
    """Send the message that starts a consumer or a sweep."""
    app.send_task(f"runqueue.{stage}", args=[account, tick_us])


class ProducerStep(bootsteps.ConsumerStep):
    """Takes producers' messages over a channel of its own, `PRODUCERS` at once.

    However many wait, and however long each takes, the stages' messages are read as they come and
    find a thread.
    """

    requires = ("celery.worker.consumer:Tasks",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self._parent = parent

    def stop(self, parent: Any) -> None:
        """Close the channel; where the broker's connection was lost it is closed already."""
        if parent.connection is not None:
            super().stop(parent)

    def get_consumers(self, channel: Any) -> list[Any]:
        """Return the consumer of the producers' queue."""
        return [
            app.amqp.Consumer(
                channel,
                [app.amqp.queues.new_missing(PRODUCER_QUEUE)],
                on_message=self._parent.create_task_handler(),
                on_decode_error=self._parent.on_decode_error,
                accept=app.conf.accept_content,
                # Each is acknowledged once it is worked off (`acks_late`).
                prefetch_count=PRODUCERS,
            )
        ]


class RuntimeStep(bootsteps.StartStopStep):
    """Begins the event loop after the pool and drains it before the pool stops."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self.tickers: list[TickerThread] = []
        self.last_traces: Callable[[], None] = lambda: None

    def start(self, parent: Any) -> None:
        """Start the loop, the metrics server and the tickers."""
        for warning in unknown_variables():
            log.warning("unknown_setting", warning=warning)
        _warn_of_request_rate()
        self.last_traces = setup_tracing("runqueue-worker")
        runtime = Runtime(settings, redis_url)
        # Before Redis is awaited: a probe of a process that waits has to be answered.
        serve_metrics(settings.metrics_host, settings.metrics_port, redis_url, runtime)
        try:
            # A SIGTERM while Redis is awaited ends the worker: Celery's handler only leaves a note.
            runtime.start(still_wanted=maybe_shutdown)
        except (AmbiguousAccounts, EvictingRedis, OtherFormat) as error:
            sys.exit(f"runqueue: {error}")
        _state["runtime"] = runtime
        self.tickers = [TickerThread(name, runtime, send) for name in runtime.accounts]
        for ticker in self.tickers:
            ticker.start()
        calm_collector()
        log.info("worker_ready", accounts=sorted(runtime.accounts))

    def stop(self, parent: Any) -> None:
        """Drain: the consumers end first, then the loop, then (after this step) the pool."""
        runtime = _state.pop("runtime", None)
        if runtime is not None:
            runtime.stop()
        for ticker in self.tickers:
            ticker.join(timeout=2)
        self.last_traces()

    def terminate(self, parent: Any) -> None:
        """A second signal drains too: what is on the wire must be recorded."""
        self.stop(parent)


app.steps["worker"].add(RuntimeStep)
app.steps["consumer"].add(ProducerStep)
_state: dict[str, Runtime] = {}


@signals.setup_logging.connect
def _setup_logging(**_: Any) -> None:
    setup_logging(settings.log_level, settings.secrets(redis_url, broker))
    log_what_python_prints()


def _say_nothing_but_logs(options: dict[str, Any]) -> None:
    """Leave out the words that Celery has for people: its banner, and that it is ending."""
    options["quiet"] = True
    celery_worker.safe_say = lambda *_: None


def _warn_of_request_rate() -> None:
    for name, account in settings.all_accounts().items():
        share = 0.7 * account.max_requests_per_second
        if 0 < share < (account.max_submissions_per_second or float("inf")):
            log.warning("request_rate_caps_submissions", account=name, submissions_per_second=share)


def _task(stage: str) -> None:
    """Register the task `runqueue.<stage>`, which runs the consumer of a stage to its end."""

    @app.task(name=f"runqueue.{stage}")
    def consume(account: str, tick_us: int) -> None:
        runtime = _state.get("runtime")
        if runtime is None:
            return
        ended, server_us = runtime.consume(stage, account, tick_us)
        if ended is ConsumerEnd.SUCCESSOR:
            send(stage, account, server_us)


for one in STAGES:
    _task(one)


def take_at_once(task: Any, celery_app: Any, consumer: Any, **kwargs: Any) -> Any:
    """Return a handler of messages that leaves their ETA or countdown to the queue.

    Celery would hold each until that time, as one of `PRODUCERS`.

    Args:
        task, celery_app, consumer, kwargs: as Celery gives them to a task's `Strategy`.
    """
    handle = strategy.default(task, celery_app, consumer, **kwargs)

    def take(message: Any, body: Any, *rest: Any) -> Any:
        headers = message.headers or {}
        eta = headers.get("eta")
        if body is not None:  # the first protocol: it is in the body
            eta = body.pop("eta", None) or eta
        # A copy: the message goes back with its own headers, if it does.
        message.headers = {**headers, "eta": None, RUN_AT_HEADER: eta}
        return handle(message, body, *rest)

    return take


@app.task(name="runqueue.enqueue", bind=True, acks_late=True, Strategy=staticmethod(take_at_once))
def enqueue(self: Any, *args: Any, **kwargs: Any) -> None:
    """Enqueue the lines of a producer's message; acknowledged once they are in the queue."""
    runtime = _state.get("runtime")
    if runtime is None:
        raise Reject("the worker is stopping", requeue=True)
    try:
        # As OpenTelemetry's instrumentation of Celery sends it: a header of the message.
        traceparent = self.request.get("traceparent")
        run_at = self.request.get(RUN_AT_HEADER)
        runtime.intake.accept(self.request.id, args, kwargs, traceparent, run_at=run_at)
    except NotNow as error:
        raise Reject(error, requeue=True) from None


@app.task(name="runqueue.sweep")
def sweep(account: str, tick_us: int) -> None:
    """Run one pass of the sweep of an account; an old message is as good as a new one."""
    del tick_us
    runtime = _state.get("runtime")
    if runtime is not None:
        runtime.sweep(account)
