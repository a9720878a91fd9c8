"""What one worker process measures. Labels never hold a job, a run or a URL.

`/metrics` is this process's own: adding up ten workers is right. What `/metrics/queue` shows of the
whole queue is read in `runqueue/observe/collector.py`.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge

from config.process_metrics import loop_lag, register_process
from worker.process.call_times import CallTimes, Timer

REGISTRY = CollectorRegistry()
register_process(REGISTRY, "worker")

_CALLS = CallTimes()
REGISTRY.register(_CALLS)
LOOP_LAG = loop_lag(REGISTRY)
CONSUMERS = Gauge(
    "runqueue_pump_busy",
    "Calls open now, by kind of pump: submit, poll, list, cancel, reconcile, webhooks, callbacks or"
    " inbox.",
    ["account", "kind"],
    registry=REGISTRY,
)
_RELAYED = Counter(
    "runqueue_webhook_relayed",
    "Tries to send a webhook to its receiver, by what became of it: delivered, again, gave_up or"
    " refused.",
    ["account", "result"],
    registry=REGISTRY,
)
_REDELIVERIES = Counter(
    "runqueue_webhook_redeliveries",
    "Webhooks that Skyvern was asked to send again, by what came of it: delivered, again, gave_up,"
    " unknown, signed or unsigned.",
    ["account", "result"],
    registry=REGISTRY,
)


class AccountMetrics:
    """One account's metrics of this process; label lookups are done once, not per call."""

    def __init__(self, account: str) -> None:
        self._account = account
        self._times = _CALLS.of(account)

    def relayed(self, result: str) -> None:
        """Count a try to send a webhook: delivered, again, gave_up or refused."""
        _RELAYED.labels(self._account, result).inc()

    def redelivered(self, result: str) -> None:
        """Count a webhook that Skyvern was asked to send again.

        Args:
            result: delivered, again, gave_up or unknown; where it was to be sent to us, signed (it
                came with the answer, by Skyvern's signature) or unsigned.
        """
        _REDELIVERIES.labels(self._account, result).inc()

    def timed(self, call: str) -> Timer:
        """Measure one call of the API."""
        return Timer(self._times, call)
