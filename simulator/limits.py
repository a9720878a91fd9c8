"""The account's limit on submissions."""

from collections import deque

from simulator.model.options import Options
from simulator.replies import RefusedError


class SubmissionLimit:
    """Accept at most so many submissions within any window; a refused one does not count."""

    def __init__(self, options: Options) -> None:
        self._limit = options.max_requests_per_window
        self._window = options.window
        self._accepted: deque[float] = deque(maxlen=self._limit or None)

    def check(self, now: float) -> None:
        """Count a submission in.

        Args:
            now: unix seconds.

        Raises:
            RefusedError: 429, with the server's text.
        """
        if not self._limit:
            return
        # The deque holds the last `limit` times only: its first element decides.
        accepted = self._accepted
        if len(accepted) == self._limit and now - accepted[0] < self._window:
            raise RefusedError(429, f"Maximum {self._limit} requests per {self._window:g} seconds")
        accepted.append(now)
