"""How a simulator behaves, checked once at the start."""

from dataclasses import dataclass

from simulator.model.releases import DEFAULT_VERSION, RELEASES

DEFAULT_API_KEY = "simulator-key"


class OptionError(ValueError):
    """An option that cannot be honoured.

    Args:
        option: its name on the command line, such as `--failed`.
        reason: what was expected of it.
    """

    def __init__(self, option: str, reason: str) -> None:
        super().__init__(f"{option}: {reason}")
        self.option = option
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one simulator, from the command line or a test.

    Args:
        api_keys: the keys it accepts; all of them belong to one account.
        duration: seconds from a run's creation to its end.
        duration_spread: 0 to 1; 0.2 means durations lie evenly within 20 % of `duration`.
        failed, terminated, timed_out: shares (0 to 1) of runs with that end; the rest complete.
        seed: makes the draws above, and those of the faults, the same each time.
        max_requests_per_second: submissions accepted a second; 0 means no limit.
        window: seconds over which that rate is counted.
        max_concurrent: runs that work at once, the others wait `queued`; 0 means no limit.
        keepalive_timeout: seconds after which an idle connection is closed.
        webhook_timeout: seconds a webhook's receiver may take.
        session_release: seconds after a run's end until another may use its browser session; its
            webhook is sent then.
        webhook_retry_delays: seconds before each further try to deliver a webhook; by default all
            three tries are over within about 5 s.
        list_supported: False plays an older server, which has no list of runs.
        declared_parameters: the parameters that a workflow declares which nobody made; empty
            means whatever its run gives.
        any_workflow: False: a workflow that nobody made is a 404, as on the real server, and so
            is every browser profile.
        any_credential: True: every credential of Skyvern's own exists; else none does.
        credits_per_step: credits that workflow runs, and 2.0 tasks, are billed a step; 0: none, as
            on a self-hosted server.
        version: the release that is imitated, one of `simulator.model.releases.RELEASES`.
    """

    api_keys: tuple[str, ...] = (DEFAULT_API_KEY,)
    duration: float = 10.0
    duration_spread: float = 0.0
    failed: float = 0.0
    terminated: float = 0.0
    timed_out: float = 0.0
    seed: int = 0
    max_requests_per_second: float = 0.0
    window: float = 1.0
    max_concurrent: int = 0
    keepalive_timeout: float = 75.0
    webhook_timeout: float = 30.0
    webhook_retry_delays: tuple[float, ...] = (1.5, 3.0)
    session_release: float = 1.0
    list_supported: bool = True
    declared_parameters: frozenset[str] = frozenset()
    any_workflow: bool = True
    any_credential: bool = False
    credits_per_step: int = 0
    version: str = DEFAULT_VERSION

    def __post_init__(self) -> None:
        if self.version not in RELEASES:
            raise OptionError("--version", f"one of {', '.join(RELEASES)}")
        if not self.api_keys or not all(self.api_keys):
            raise OptionError("--api-key", "at least one key, and none of them empty")
        self._check_numbers()
        # The margin is for sums such as 0.7 + 0.2 + 0.1, which floats put just above 1.
        if self.failed + self.terminated + self.timed_out > 1 + 1e-9:
            raise OptionError("--failed", "together with --terminated and --timed-out at most 1")
        if self.max_requests_per_second and self.max_requests_per_window < 1:
            raise OptionError("--window", "too short: the rate allows no request within it")

    def _check_numbers(self) -> None:
        for name in (
            *("duration", "max_requests_per_second", "max_concurrent", "keepalive_timeout"),
            *("session_release", "credits_per_step"),
        ):
            if not 0 <= getattr(self, name) < float("inf"):
                raise OptionError(_flag(name), "a number that is not negative")
        for name in ("window", "webhook_timeout"):
            if not 0 < getattr(self, name) < float("inf"):
                raise OptionError(_flag(name), "a number of seconds above 0")
        for name in ("duration_spread", "failed", "terminated", "timed_out"):
            if not 0 <= getattr(self, name) <= 1:
                raise OptionError(_flag(name), "a share between 0 and 1")

    @property
    def max_requests_per_window(self) -> int:
        """Submissions accepted within one window; 0 means no limit."""
        return round(self.max_requests_per_second * self.window)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
