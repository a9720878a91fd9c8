"""Exact counts of what really happened, to check a client against them."""

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence

from simulator.model.runs import Run
from simulator.replies import Json

SUBMISSION_ROUTES = frozenset({"run_task", "run_workflow", "login", "download_files", "retry_run"})


class Ledger:
    """Records when requests arrive, before any fault or refusal."""

    def __init__(self) -> None:
        self._requests = array("d")
        self._submissions = array("d")
        self._by_route: Counter[str] = Counter()

    def record(self, route: str, now: float) -> None:
        """Record one request of the API.

        Args:
            route: its name, as fault rules use it.
            now: unix seconds.
        """
        self._by_route[route] += 1
        self._requests.append(now)
        if route in SUBMISSION_ROUTES:
            self._submissions.append(now)

    def summary(self, runs: Iterable[Run], now: float, window: float) -> Json:
        """All totals.

        Args:
            runs: every run created.
            now: unix seconds.
            window: seconds of the sliding windows.
        """
        runs = list(runs)
        return {
            "runs": len(runs),
            "by_status": Counter(run.status(now) for run in runs),
            "live": sum(not run.is_over(now) for run in runs),
            "max_live": max_live(runs, now),
            "submissions": len(self._submissions),
            "submissions_per_second": sorted(Counter(map(int, self._submissions)).items()),
            "window_seconds": window,
            "max_submissions_in_window": densest_window(self._submissions, window),
            "max_requests_in_window": densest_window(self._requests, window),
            "requests": len(self._requests),
            "requests_by_route": self._by_route,
        }


def densest_window(times: Sequence[float], window: float) -> int:
    """The most arrivals within any window.

    Args:
        times: arrivals in order, in seconds.
        window: its length; two arrivals exactly that far apart are not in one window.
    """
    most = first = 0
    for last, time in enumerate(times):
        while time - times[first] >= window:
            first += 1
        most = max(most, last - first + 1)
    return most


def max_live(runs: Iterable[Run], now: float) -> int:
    """The most runs that were live at once, each from its creation until just before its end."""
    changes = [(run.created, 1) for run in runs]
    changes += [(run.ended, -1) for run in runs if run.ended <= now]
    # An end sorts before a creation at the same instant: those two were never live together.
    changes.sort()
    most = live = 0
    for _, change in changes:
        live += change
        most = max(most, live)
    return most
