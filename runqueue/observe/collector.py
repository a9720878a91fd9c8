"""The queue's Prometheus metrics: the same from every process, so scrape them from one.

The one module here that needs prometheus-client; a producer never imports it. The metrics are
declared in `gauges.py` and `counters.py`; those of one process in `worker/process/metrics.py` and
`gateway/metrics.py`.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from runqueue.connection.cluster import by_node
from runqueue.connection.redis_errors import UNREADABLE
from runqueue.errors import QueueUnavailable, RunQueueError
from runqueue.observe import redis_health
from runqueue.observe.counters import COUNTERS, HISTOGRAMS
from runqueue.observe.family import AccountSample
from runqueue.observe.gauges import GAUGES
from runqueue.observe.redis_health import RedisHealth, read_health
from runqueue.observe.statistics import GROUPS, read_figures
from runqueue.producer.queue import RunQueue
from runqueue.records.times import BOUNDS, Times
from runqueue.store import job_calls
from runqueue.store.budgets import BudgetUse

PREFIX = "runqueue_"
#: Budgets of an account that are measured.
BUDGETS = 20
_UNKNOWN = RedisHealth({}, "unknown", "unknown", "unknown")


class QueueCollector(Collector):
    """Reads the queue's statistics from Redis at each scrape: four scripts an account, and an INFO.

    Args:
        queue: the queue; closed by its owner.
    """

    def __init__(self, queue: RunQueue) -> None:
        self._queue = queue

    def collect(self) -> Iterator[Metric]:
        """Yield the statistics of every account; `runqueue_up` is 0 when Redis cannot be read.

        An account that alone cannot be read hides no other.
        """
        try:
            names = self._queue.accounts()
            accounts = {name: self._seen(name) for name in names}
            info = by_node(self._queue.server_info())
            health = {node: read_health(reply) for node, reply in info.items()}
        except RunQueueError:
            yield _up(0)
            return
        yield _up(1)
        read = [seen for seen in accounts.values() if seen is not None]
        yield _readable({name: seen is not None for name, seen in accounts.items()})
        yield from families(read)
        yield from redis_families(health)

    def _seen(self, account: str) -> AccountSample | None:
        """Read an account; None = what Redis holds of it is damaged."""
        try:
            stats = self._queue.send(job_calls.stats(account))
            figures = self._queue.send(read_figures(account))
            budgets = sorted(self._queue.list_budgets(account), key=_used, reverse=True)
            groups = self._queue.group_credits(account)[:GROUPS]
            return AccountSample(account, stats, figures, budgets[:BUDGETS], groups)
        except QueueUnavailable:
            raise
        except (RunQueueError, *UNREADABLE):
            return None

    def describe(self) -> Iterator[Metric]:
        """Yield every metric without a value: nothing is read."""
        yield _up(None)
        yield _readable({})
        yield from families([])
        yield from redis_families({"": _UNKNOWN})


def _used(use: BudgetUse) -> float:
    return use.spent_ratio


def families(accounts: Sequence[AccountSample]) -> Iterator[Metric]:
    """Yield the metrics of accounts."""
    for kind, declared in ((GaugeMetricFamily, GAUGES), (CounterMetricFamily, COUNTERS)):
        for name, text, read, labels in declared:
            metric = kind(f"{PREFIX}{name}", text, labels=["account", *labels])
            for seen in accounts:
                for values, value in read(seen):
                    metric.add_metric([seen.account, *values], value)
            yield metric
    for name, (metric_name, text) in HISTOGRAMS.items():
        histogram = HistogramMetricFamily(f"{PREFIX}{metric_name}", text, labels=["account"])
        for seen in accounts:
            times = seen.stats.times[name]
            histogram.add_metric([seen.account], _cumulated(times), times.sum_seconds)
        yield histogram


def redis_families(servers: Mapping[str, RedisHealth]) -> Iterator[Metric]:
    """Yield what Redis reports of itself; what it does not report has no value.

    Args:
        servers: by the node's address, which is a label then; a server that is no cluster's by ''.
    """
    labels = [] if list(servers) == [""] else ["node"]
    nodes = [([node] if labels else [], health) for node, health in servers.items()]
    gauges = {**redis_health.GAUGES, **redis_health.STATES}
    for kind, declared in ((GaugeMetricFamily, gauges), (CounterMetricFamily, redis_health.COUNTS)):
        for name, (_, text) in declared.items():
            metric = kind(f"{PREFIX}redis_{name}", text, labels=labels)
            for node, health in nodes:
                if name in health.values:
                    metric.add_metric(node, health.values[name])
            yield metric
    what = "The server and its eviction policy."
    info = InfoMetricFamily(f"{PREFIX}redis", what, labels=labels)
    for node, health in nodes:
        known = {"version": health.version, "role": health.role, "policy": health.policy}
        info.add_metric(node, known)
    yield info


def _up(value: float | None) -> Metric:
    up = GaugeMetricFamily(f"{PREFIX}up", "1 while Redis answers.", labels=[])
    if value is not None:
        up.add_metric([], value)
    return up


def _readable(accounts: Mapping[str, bool]) -> Metric:
    text = "0 while an account cannot be read."
    readable = GaugeMetricFamily(f"{PREFIX}account_readable", text, labels=["account"])
    for account, is_readable in accounts.items():
        readable.add_metric([account], is_readable)
    return readable


def _cumulated(times: Times) -> list[tuple[str, float]]:
    bounds = [*(str(float(bound)) for bound in BOUNDS), "+Inf"]
    return list(zip(bounds, accumulate(times.counts), strict=True))
