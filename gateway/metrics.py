"""The metrics of one gateway process. Labels never hold a job, a run or a URL."""

from collections.abc import Iterable
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Histogram

from config.process_metrics import loop_lag, register_process
from webhooks.notices.notifier import NOTIFICATIONS

#: The buckets of a webhook's time.
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class WebhookOutcome(StrEnum):
    """The outcome of one webhook; a label of its metric.

    `ended` to `unknown` are the queue's verdicts (`record_webhook.lua`), but for `retried`: the run
    ended badly and its job runs again. The others were refused before the queue was called;
    `unavailable` means that it could not be reached.
    """

    ENDED = "ended"
    NOTED = "noted"
    DUPLICATE = "duplicate"
    RETRIED = "retried"
    ORPHAN = "orphan"
    OTHER = "other"
    UNKNOWN = "unknown"
    BAD_ADDRESS = "bad_address"
    BAD_SIGNATURE = "bad_signature"
    TOO_LARGE = "too_large"
    UNREADABLE = "unreadable"
    MISMATCH = "mismatch"
    UNAVAILABLE = "unavailable"


class Refusal(StrEnum):
    """Why a call was refused."""

    UNNAMED = "no_token"
    WRONG = "wrong_token"
    NOT_ALLOWED = "not_allowed"


class Metrics:
    """The metrics of one process; label look-ups are done once, not per webhook.

    Args:
        accounts: the names of the accounts; others are counted under ''.
    """

    def __init__(self, accounts: Iterable[str]) -> None:
        self.registry = CollectorRegistry()
        register_process(self.registry, "gateway")
        self.loop_lag = loop_lag(self.registry)
        self.registry.register(NOTIFICATIONS)
        received = Counter(
            "runqueue_webhook_received",
            "Webhooks received from Skyvern.",
            ["account", "verdict"],
            registry=self.registry,
        )
        self._received = {
            (account, outcome): received.labels(account, outcome.value)
            for account in accounts
            for outcome in WebhookOutcome
        }
        nobody = ("", WebhookOutcome.BAD_ADDRESS)
        self._received[nobody] = received.labels(*nobody)
        refused = Counter(
            "runqueue_gateway_refused",
            "Calls and logins refused (401, 403).",
            ["reason"],
            registry=self.registry,
        )
        self._refused = {reason: refused.labels(reason.value) for reason in Refusal}
        self._seconds = Histogram(
            "runqueue_webhook_seconds",
            "Time to read, check and record a webhook.",
            registry=self.registry,
            buckets=_SECONDS,
        )

    def refused(self, reason: Refusal) -> None:
        """Count one call or login that was refused."""
        self._refused[reason].inc()

    def webhook(self, account: str, outcome: WebhookOutcome, seconds: float) -> None:
        """Count one webhook; '' = of no known account."""
        self._received[account, outcome].inc()
        self._seconds.observe(seconds)
