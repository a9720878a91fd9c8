"""The queue's figures as Prometheus metrics: the same from every process, so scrape them from one.

The one module here that needs prometheus-client; a producer never imports it. Labels never hold a
job, a run or a URL.
"""

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from runqueue.errors import RunQueueError
from runqueue.queue import RunQueue
from runqueue.stats import AccountStats


class QueueCollector(Collector):
    """Reads the queue's figures from Redis at each scrape.

    Args:
        queue: the queue; closed by its owner.
    """

    def __init__(self, queue: RunQueue) -> None:
        self._queue = queue

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
