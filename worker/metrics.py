"""What one worker process measures. Labels never hold a job, a run or a URL.

`/metrics` is this process's own: adding up ten workers is right. What `/metrics/queue` tells of the
whole queue is read in `runqueue/collector.py`.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from config.process_metrics import loop_lag, register_process

REGISTRY = CollectorRegistry()
register_process(REGISTRY, "worker")

_HTTP = Histogram(
    "runqueue_http_request_seconds",
    "Time of one call of the Skyvern API, by call and class of its answer (2xx to 5xx; none: no"
    " answer).",
    ["account", "call", "status"],
    registry=REGISTRY,
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
LOOP_LAG = loop_lag(REGISTRY)
PUMPS = Gauge(
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


@dataclass(slots=True)
class Timer:
    """One call under way; `status` is its HTTP status, None when no answer came."""

    status: int | None = None


class AccountMetrics:
    """One account's metrics of this process; label lookups are done once, not per call."""

    def __init__(self, account: str) -> None:
        self._account = account
        self._histograms: dict[tuple[str, str], Histogram] = {}

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

    @contextmanager
    def timed(self, call: str) -> Iterator[Timer]:
        """Measure one call of the API."""
        timer, start = Timer(), time.perf_counter()
        try:
            yield timer
        finally:
            status = f"{timer.status // 100}xx" if timer.status else "none"
            key = (call, status)
            if key not in self._histograms:
                self._histograms[key] = _HTTP.labels(self._account, call, status)
            self._histograms[key].observe(time.perf_counter() - start)
