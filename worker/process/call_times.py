"""How long calls of the API took: a histogram that costs a call next to nothing.

The library's takes a lock twice and walks the buckets for each value; here a call adds to a list of
its own, and the metric is made of the lists when it is read.
"""

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from typing import Self

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

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
            "Time of one call of the Skyvern API, by call and class of its answer (2xx to 5xx;"
            " none: no answer).",
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
