"""The counters of the queue, and its histograms: what happened since it was made."""

from collections.abc import Iterator

from runqueue.observe.family import AccountSample, Family, Sample, total, totals
from runqueue.records.delivery import DeliveryState
from runqueue.records.job import JobState


def _others(seen: AccountSample) -> Iterator[Sample]:
    for name, n in seen.stats.totals.items():
        if name not in _TOLD:
            yield (name.replace(":", "_"),), n


_ENDED = {
    state.value: f"ended:{state.value}"
    for state in (JobState.COMPLETED, JobState.FAILED, JobState.CANCELED, JobState.DEAD)
}
_SUBMISSIONS = {
    "accepted": "submissions:accepted",
    "refused": "submissions:refused",
    "unknown": "submissions:unknown",
    **{why: f"given_back:{why}" for why in ("not_sent", "busy", "limited", "account", "later")},
}
_ENDS_SEEN = {
    "webhook": "seen:webhook",
    "poll": "seen:poll",
    "missed_webhook": "seen:missed",
    "retried": "seen:retried",
}
_CALLS = {"submit": "claims"} | {
    name: f"calls:{name}" for name in ("get", "list", "cancel", "other")
}
_FENCED = {
    name: f"fenced:{name}"
    for name in ("give_back", "heartbeat", "mark_dead", "mark_running", "mark_unconfirmed")
}
_DELIVERED = {
    state.value: f"webhooks:{state.value}"
    for state in (DeliveryState.DELIVERED, DeliveryState.GAVE_UP, DeliveryState.UNKNOWN)
}
_BATCH_EVENTS = {name: f"callbacks:{name}" for name in ("delivered", "gave_up", "dropped")}
_BATCHES = {name: f"batches:{name}" for name in ("opened", "finished", "aborted")} | {
    "expired": "batches_expired"
}
_SINGLE = {
    "enqueued": "enqueued",
    "claims": "claims",
    "poisoned": "poisoned",
    "lease_takeovers": "lease_takeovers",
    "claims_taken_over": "claims_taken_over",
    "steps": "steps",
}
#: Totals that have a metric of their own; all others are events.
_TOLD = {
    name
    for names in (
        *(_ENDED, _SUBMISSIONS, _ENDS_SEEN, _CALLS, _FENCED, _DELIVERED),
        *(_BATCHES, _BATCH_EVENTS, _SINGLE),
    )
    for name in names.values()
}

COUNTERS: tuple[Family, ...] = (
    Family("jobs_enqueued", "counter", "Jobs that were enqueued.", total("enqueued")),
    Family(
        "jobs_ended",
        "counter",
        "Jobs that ended: completed, failed, canceled or dead.",
        totals(_ENDED),
        ("outcome",),
    ),
    Family(
        "jobs_poisoned",
        "counter",
        "Jobs that are dead since three workers died while they submitted them.",
        total("poisoned"),
    ),
    Family(
        "submissions",
        "counter",
        "Submissions by what the answer meant: accepted, refused (the job is dead), unknown (it is"
        " unconfirmed), and without a run and at no cost not_sent, busy, limited (429), account.",
        totals(_SUBMISSIONS),
        ("outcome",),
    ),
    Family(
        "api_calls",
        "counter",
        "Calls of Skyvern's API that permits were taken for: submit, get, cancel or other"
        " (lists, searches, replays of webhooks).",
        totals(_CALLS),
        ("call",),
    ),
    Family(
        "run_ends",
        "counter",
        "Runs that ended, by what reported it: webhook, poll, missed_webhook (a poll, although a"
        " webhook should have come), retried (its job runs again).",
        totals(_ENDS_SEEN),
        ("way",),
    ),
    Family("steps", "counter", "Steps that runs took, as Skyvern reports them.", total("steps")),
    Family(
        "webhook_deliveries",
        "counter",
        "Webhooks that are settled: delivered, gave_up or unknown.",
        totals(_DELIVERED),
        ("outcome",),
    ),
    Family(
        "fence_refusals",
        "counter",
        "Late words of workers that were refused, since the job had moved on, by transition"
        " (heartbeat: a process whose lease was lost).",
        totals(_FENCED),
        ("transition",),
    ),
    Family(
        "lease_takeovers",
        "counter",
        "Processes that died, or could not reach Redis for 15 s.",
        total("lease_takeovers"),
    ),
    Family(
        "claims_taken_over",
        "counter",
        "Submissions whose process died, or that never ended: their jobs are unconfirmed.",
        total("claims_taken_over"),
    ),
    Family(
        "batch_events",
        "counter",
        "Batches that were opened, finished, aborted by their rules, or expired unsealed.",
        totals(_BATCHES),
        ("event",),
    ),
    Family(
        "batch_callbacks",
        "counter",
        "Events for callback_urls of batches: delivered, gave_up, or dropped (its upload was given"
        " up).",
        totals(_BATCH_EVENTS),
        ("outcome",),
    ),
    Family(
        "events",
        "counter",
        "Everything else that the transitions count.",
        _others,
        ("event",),
    ),
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
