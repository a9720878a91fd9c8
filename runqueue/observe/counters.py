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
    _Totals("jobs_enqueued", "Jobs that were enqueued.", {"": "enqueued"}),
    _Totals(
        "jobs_ended",
        "Jobs that ended: completed, failed, canceled or dead.",
        _prefixed("ended", "completed", "failed", "canceled", "dead"),
        "outcome",
    ),
    _Totals(
        "jobs_crash_looped",
        "Jobs that are dead since three workers died while they submitted them.",
        {"": "crash_loops"},
    ),
    _Totals(
        "submissions",
        "Submissions by what the answer meant: accepted, refused (the job is dead), unknown (it is"
        " unconfirmed), and without a run and at no cost not_sent, busy, limited (429), account.",
        _prefixed("submissions", "accepted", "refused", "unknown")
        | _prefixed("given_back", *_GIVEN_BACK),
        "outcome",
    ),
    _Totals(
        "api_calls",
        "Calls of Skyvern's API that permits were taken for: submit, get, cancel or other"
        " (lists, searches, replays of webhooks).",
        {"submit": "claims"} | _prefixed("calls", "get", "list", "cancel", "other"),
        "call",
    ),
    _Totals(
        "run_ends",
        "Runs that ended, by what reported it: webhook, poll, missed_webhook (a poll, although a"
        " webhook should have come), retried (its job runs again).",
        _prefixed("seen", "webhook", "poll", "retried") | {"missed_webhook": "seen:missed"},
        "way",
    ),
    _Totals("steps", "Steps that runs took, as Skyvern reports them.", {"": "steps"}),
    _Totals(
        "webhook_deliveries",
        "Webhooks that are settled: delivered, gave_up or unknown.",
        _prefixed("webhooks", "delivered", "gave_up", "unknown"),
        "outcome",
    ),
    _Totals(
        "fence_refusals",
        "Late words of workers that were refused, since the job had moved on, by transition"
        " (heartbeat: a process whose lease was lost).",
        _prefixed(
            *("fenced", "give_back", "heartbeat", "mark_dead", "mark_running", "mark_unconfirmed")
        ),
        "transition",
    ),
    _Totals(
        "lease_takeovers",
        "Processes that died, or could not reach Redis for 15 s.",
        {"": "lease_takeovers"},
    ),
    _Totals(
        "claims_taken_over",
        "Submissions whose process died, or that never ended: their jobs are unconfirmed.",
        {"": "claims_taken_over"},
    ),
    _Totals(
        "batch_events",
        "Batches that were opened, finished, aborted by their rules, or expired unsealed.",
        _prefixed("batches", "opened", "finished", "aborted") | {"expired": "batches_expired"},
        "event",
    ),
    _Totals(
        "batch_callbacks",
        "Events for callback_urls of batches: delivered, gave_up, or dropped (its upload was given"
        " up).",
        _prefixed("callbacks", "delivered", "gave_up", "dropped"),
        "outcome",
    ),
)
_TOLD = {name for counter in _OWN for name in counter.totals.values()}


def _others(seen: AccountSample) -> Iterator[Sample]:
    for name, n in seen.stats.totals.items():
        if name not in _TOLD:
            yield (name.replace(":", "_"),), n


COUNTERS: tuple[Family, ...] = (
    *(Family(own.name, own.text, own.read, (own.label,) if own.label else ()) for own in _OWN),
    Family("events", "Everything else that the transitions count.", _others, ("event",)),
)

#: What is timed, by the name that it has in the counters.
HISTOGRAMS = {
    "queue": (
        "job_queue_seconds",
        "Our queue: from when a job could go (enqueued, due, replayed) to its run's acceptance.",
    ),
    "run_queue": (
        "run_queue_seconds",
        "Skyvern's queue: from a run's acceptance to its start, as Skyvern reports.",
    ),
    "run": ("run_seconds", "From a run's start to its end, as Skyvern reports."),
    "result": (
        "job_result_seconds",
        "From when a job could go to the end of its run being recorded.",
    ),
    "delivery": (
        "webhook_delivery_seconds",
        "From a job's end to its webhook having been delivered.",
    ),
}
