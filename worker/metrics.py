"""Every metric of the project: what one process measures, and what it reads of the whole queue.

`/metrics` is this process's own (adding up ten workers is right); `/metrics/queue` is the queue's,
the same from every worker: scrape it from one place. Labels never hold a job, a run or a URL.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from api_client import SubmissionClass
from runqueue import RunQueue, RunQueueError
from runqueue.stats import AccountStats

REGISTRY = CollectorRegistry()

_HTTP = Histogram(
    "runqueue_http_request_seconds",
    "Time of one call of the Skyvern API, by call and class of its answer.",
    ["account", "call", "status"],
    registry=REGISTRY,
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
_SUBMISSIONS = Counter(
    "runqueue_submissions",
    "Submissions by the class of their outcome.",
    ["account", "outcome"],
    registry=REGISTRY,
)
LOOP_LAG = Histogram(
    "runqueue_loop_lag_seconds",
    "How late the event loop came to a timer.",
    registry=REGISTRY,
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1),
)
PUMPS = Gauge(
    "runqueue_pump_busy",
    "Calls open now, by kind of pump.",
    ["account", "kind"],
    registry=REGISTRY,
)
_RELAYED = Counter(
    "runqueue_webhook_relayed",
    "Tries to send a webhook to its receiver, by what became of the webhook.",
    ["account", "result"],
    registry=REGISTRY,
)
_REDELIVERIES = Counter(
    "runqueue_webhook_redeliveries",
    "Webhooks that Skyvern was asked to send again, by what came of it.",
    ["account", "result"],
    registry=REGISTRY,
)
_DELIVERY_LAG = Histogram(
    "runqueue_webhook_delivery_lag_seconds",
    "From the end of a run to the delivery of its webhook.",
    ["account"],
    registry=REGISTRY,
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000),
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
        self.submissions = {
            outcome: _SUBMISSIONS.labels(account, outcome.value) for outcome in SubmissionClass
        }
        self.delivery_lag = _DELIVERY_LAG.labels(account)

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


class QueueCollector(Collector):
    """Reads the queue's figures from Redis at each scrape.

    Args:
        url: the queue's Redis.
    """

    def __init__(self, url: str) -> None:
        self._queue = RunQueue(url)

    def collect(self) -> Iterator[Metric]:
        """Yield the figures of every account; `runqueue_up` is 0 when Redis cannot be read."""
        up = GaugeMetricFamily("runqueue_up", "Whether the queue's Redis answered.")
        try:
            stats = self._queue.stats()
        except RunQueueError:
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        yield from _families(list(stats.values()))


#: (metric, help, what it reads) for the figures that every account has one of.
_GAUGES: tuple[tuple[str, str, Callable[[AccountStats], float]], ...] = (
    ("in_flight", "Slots in use: submitting, unconfirmed and running.", lambda s: s.live),
    ("strays", "Runs of ours that no job owns.", lambda s: s.strays),
    ("worker_processes", "Processes whose lease holds.", lambda s: s.processes),
    ("held", "1 while nothing is submitted for a reason.", lambda s: float(s.hold_seconds > 0)),
    (
        "oldest_ready_seconds",
        "How long the longest-waiting ready job has waited.",
        lambda s: s.oldest_ready_seconds or 0.0,
    ),
)


def _families(accounts: list[AccountStats]) -> Iterator[Metric]:
    for name, text, read in _GAUGES:
        gauge = GaugeMetricFamily(f"runqueue_{name}", text, labels=["account"])
        for stats in accounts:
            gauge.add_metric([stats.account], read(stats))
        yield gauge
    jobs = GaugeMetricFamily(
        "runqueue_jobs", "Jobs on record.", labels=["account", "state", "priority"]
    )
    limits = GaugeMetricFamily(
        "runqueue_limit", "Limits in force, 0 = none.", labels=["account", "limit"]
    )
    permits = GaugeMetricFamily(
        "runqueue_permits",
        "Calls that may go now, of the limiters that are on.",
        labels=["account", "limiter"],
    )
    ended = CounterMetricFamily(
        "runqueue_jobs_ended", "Jobs that ended, by outcome.", labels=["account", "outcome"]
    )
    events = CounterMetricFamily(
        "runqueue_events", "Totals counted in the transitions.", labels=["account", "event"]
    )
    for stats in accounts:
        for state, counts in stats.by_priority.items():
            for priority, n in counts.items():
                jobs.add_metric([stats.account, state.value, priority.name.lower()], n)
        for limit, value in stats.limits.items():
            limits.add_metric([stats.account, limit], value)
        for limiter, n in stats.permits.items():
            permits.add_metric([stats.account, limiter], n)
        for name, n in stats.totals.items():
            kind, _, outcome = name.partition(":")
            if kind == "ended":
                ended.add_metric([stats.account, outcome], n)
            else:
                events.add_metric([stats.account, name.replace(":", "_")], n)
    yield from (jobs, limits, permits, ended, events, _webhooks(accounts))


def _webhooks(accounts: list[AccountStats]) -> Metric:
    webhooks = GaugeMetricFamily(
        "runqueue_webhooks", "Webhooks of jobs on record.", labels=["account", "state"]
    )
    for stats in accounts:
        for delivery, n in stats.deliveries.items():
            webhooks.add_metric([stats.account, delivery.value], n)
    return webhooks
