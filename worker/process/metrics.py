"""What one worker process measures. Labels never hold a job, a run or a URL.

`/metrics` is this process's own: adding up ten workers is right. A gauge is made here, and set once
a second in `ServedAccounts._measure` (`worker/runtime.py`), as `CONSUMERS` is. What a stage alone
knows, it keeps itself: a poll's answer in `PollConsumer.handle` (`AccountRuntime.reads` counts the
reads of lists and versions, too). `make monitoring`
writes its row in `docs/monitoring.md`; panels are made in `ops/boards/`, alerts in
`ops/prometheus/`. What `/metrics/queue` shows of the whole queue is read in
`runqueue/observe/collector.py`.

How long calls of the API take is a histogram of our own: the library's takes a lock twice and walks
the buckets for each value. Here a call adds to a list, and the metric is made when it is read.
"""

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from typing import Self

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from config.process_metrics import loop_lag, register_process
from webhooks.notices.notifier import NOTIFICATIONS

#: Upper bounds of the buckets, in seconds; above the last there is one more.
_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_NAMES = (*map(floatToGoString, _BOUNDS), "+Inf")


class CallTimes(Collector):
    """The times of all calls of a process, by account, call and class of the answer's status."""

    def __init__(self) -> None:
        self._labelnames = ("account", "call", "status")
        self._accounts: dict[str, dict[tuple[str, int | None], list[float]]] = {}

    def of(self, account: str) -> dict[tuple[str, int | None], list[float]]:
        """Return an account's times, by call and status: how many in each bucket, and the sum."""
        times = defaultdict[tuple[str, int | None], list[float]](lambda: [0.0] * (len(_NAMES) + 1))
        return self._accounts.setdefault(account, times)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Make the metric; called from another thread."""
        family = HistogramMetricFamily(
            "runqueue_http_request_seconds",
            "Duration of a call of Skyvern's API; status 2xx to 5xx, or none.",
            labels=self._labelnames,
        )
        for labels, times in self._by_class().items():
            *counts, total = times
            sums = [sum(counts[: n + 1]) for n in range(len(counts))]
            family.add_metric(labels, list(zip(_NAMES, sums, strict=True)), total)
        yield family

    def _by_class(self) -> dict[tuple[str, str, str], list[float]]:
        found: dict[tuple[str, str, str], list[float]] = {}
        for account, by_status in list(self._accounts.items()):
            for (call, status), times in list(by_status.items()):
                labels = (account, call, f"{status // 100}xx" if status else "none")
                before = found.get(labels, [0.0] * len(times))
                found[labels] = [a + b for a, b in zip(before, list(times), strict=True)]
        return found


class Timer:
    """One call under way, as a context.

    Args:
        times: those of the account.
        call: which call.

    Attributes:
        status: its HTTP status, None when no answer came.
    """

    __slots__ = ("_call", "_start", "_times", "status")

    def __init__(self, times: dict[tuple[str, int | None], list[float]], call: str) -> None:
        self._times = times
        self._call = call
        self.status: int | None = None

    def __enter__(self) -> Self:
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        seconds = time.perf_counter() - self._start
        times = self._times[self._call, self.status]
        times[bisect_left(_BOUNDS, seconds)] += 1
        times[-1] += seconds


REGISTRY = CollectorRegistry()
register_process(REGISTRY, "worker")

_CALLS = CallTimes()
REGISTRY.register(_CALLS)
LOOP_LAG = loop_lag(REGISTRY)
CONSUMERS = Gauge(
    "runqueue_consumer_busy", "Calls open now, by stage.", ["account", "stage"], registry=REGISTRY
)
_RELAYED = Counter(
    "runqueue_webhook_relayed",
    "Tries to relay a webhook: delivered, again, abandoned, refused.",
    ["account", "result"],
    registry=REGISTRY,
)
_REDELIVERIES = Counter(
    "runqueue_webhook_redeliveries",
    "Webhooks that Skyvern was asked to send again.",
    ["account", "result"],
    registry=REGISTRY,
)
REGISTRY.register(NOTIFICATIONS)


class AccountMetrics:
    """One account's metrics of this process; label lookups are done once, not per call."""

    def __init__(self, account: str) -> None:
        self._account = account
        self._times = _CALLS.of(account)

    def relayed(self, result: str) -> None:
        """Count a try to send a webhook: delivered, again, abandoned or refused."""
        _RELAYED.labels(self._account, result).inc()

    def redelivered(self, result: str) -> None:
        """Count a webhook that Skyvern was asked to send again.

        Args:
            result: delivered, again, abandoned or unknown; where it was to be sent to us, signed
                (it came with the answer, by Skyvern's signature) or unsigned.
        """
        _REDELIVERIES.labels(self._account, result).inc()

    def timed(self, call: str) -> Timer:
        """Measure one call of the API."""
        return Timer(self._times, call)
