"""The counters of the queue, and its histograms: what happened since it was made."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from runqueue.observe.family import AccountSample, Family, Sample


class _Totals(NamedTuple):
    """A counter that is made of totals of an account.

    Args:
        name, text: as a `Family` has them.
        totals: their names, by the value of the label; of a counter without one under ''.
        label: the name of the label; '' = there is none.
    """

    name: str
    text: str
    totals: Mapping[str, str]
    label: str = ""

    def read(self, seen: AccountSample) -> Iterator[Sample]:
        """Read the totals of an account."""
        for value, name in self.totals.items():
            yield (value,) if self.label else (), seen.stats.totals.get(name, 0)


def _prefixed(prefix: str, *names: str) -> dict[str, str]:
    """Return totals that are called as the label has them, behind a prefix."""
    return {name: f"{prefix}:{name}" for name in names}


_GIVEN_BACK = ("not_sent", "busy", "limited", "account", "later")
_OWN = (
    _Totals("jobs_enqueued", "Jobs enqueued.", {"": "enqueued"}),
    _Totals(
        "jobs_ended",
        "Jobs ended.",
        _prefixed("ended", "completed", "failed", "canceled", "dead"),
        "outcome",
    ),
    _Totals(
        "jobs_crash_looped",
        "Jobs dead after three workers died submitting them.",
        {"": "crash_loops"},
    ),
    _Totals(
        "jobs_archived", "Jobs written to the archive, repeats included.", {"": "archive:written"}
    ),
    _Totals(
        "jobs_not_archived",
        "Jobs removed 30 days late, without being in the archive.",
        {"": "archive:lost"},
    ),
    _Totals(
        "submissions",
        "Submissions: accepted, refused, unknown, or without a run not_sent, busy, limited,"
        " account, later.",
        _prefixed("submissions", "accepted", "refused", "unknown")
        | _prefixed("given_back", *_GIVEN_BACK),
        "outcome",
    ),
    _Totals(
        "api_calls",
        "Calls of Skyvern's API that took a permit.",
        {"submit": "claims"} | _prefixed("calls", "get", "list", "cancel", "other"),
        "call",
    ),
    _Totals(
        "run_ends",
        "Ended runs: reported by webhook, poll, poll after a missed_webhook, or retried.",
        _prefixed("seen", "webhook", "poll", "retried") | {"missed_webhook": "seen:missed"},
        "way",
    ),
    _Totals("steps", "Steps that Skyvern reported.", {"": "steps"}),
    _Totals(
        "credits",
        "Credits of runs: all, and of these the cached and the estimated ones.",
        {"all": "credits", "cached": "cached_credits", "estimated": "credits_estimated"},
        "which",
    ),
    _Totals(
        "webhook_deliveries",
        "Webhooks settled: delivered, abandoned, unknown.",
        _prefixed("webhooks", "delivered", "abandoned", "unknown"),
        "outcome",
    ),
    _Totals(
        "fence_refusals",
        "Late writes of workers, refused by their fence.",
        _prefixed(
            *("fenced", "give_back", "heartbeat", "mark_dead", "mark_running", "mark_unconfirmed")
        ),
        "transition",
    ),
    _Totals("lease_takeovers", "Worker processes whose lease ended.", {"": "lease_takeovers"}),
    _Totals(
        "claims_taken_over",
        "Claims taken over; their jobs are unconfirmed.",
        {"": "claims_taken_over"},
    ),
    _Totals(
        "batch_events",
        "Batches opened, finished, aborted, expired.",
        _prefixed("batches", "opened", "finished", "aborted") | {"expired": "batches_expired"},
        "event",
    ),
    _Totals(
        "firings",
        "Firings of schedules: over, failed (no job completed), skipped, missed.",
        _prefixed("firings", "over", "failed", "skipped", "missed"),
        "outcome",
    ),
    _Totals("schedule_pauses", "Schedules that paused themselves.", {"": "schedules:paused"}),
    _Totals(
        "batch_callbacks",
        "Callbacks of batches: delivered, abandoned, dropped.",
        _prefixed("callbacks", "delivered", "abandoned", "dropped"),
        "outcome",
    ),
)
_REPORTED = {name for counter in _OWN for name in counter.totals.values()}


def _others(seen: AccountSample) -> Iterator[Sample]:
    for name, n in seen.stats.totals.items():
        if name not in _REPORTED:
            yield (name.replace(":", "_"),), n


COUNTERS: tuple[Family, ...] = (
    *(Family(own.name, own.text, own.read, (own.label,) if own.label else ()) for own in _OWN),
    Family("events", "All other transitions.", _others, ("event",)),
)

#: What is timed, by the name that it has in the counters.
HISTOGRAMS = {
    "queue": ("job_queue_seconds", "A job's wait in our queue."),
    "run_queue": ("run_queue_seconds", "A run's wait in Skyvern's queue."),
    "run": ("run_seconds", "Duration of a run."),
    "result": ("job_result_seconds", "Time from ready (not scheduled) to its recorded end."),
    "delivery": ("webhook_delivery_seconds", "From a job's end to its delivered webhook."),
}
