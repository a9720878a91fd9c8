"""The overview: is it submitting, and if not, why; how long is the line; what is lost or dead."""

from functools import partial

from ops.boards.asking import highest, mean, rate, shares, total
from ops.panels import CHOSEN, Board, Panel

_YES = {0: ("no", "red"), 1: ("yes", "green")}
_OPEN = 'state=~"scheduled|ready|submitting|unconfirmed|running"'
_ENDED = f'sum (increase(runqueue_jobs_ended_total{{{CHOSEN}, outcome=~"%s"}}[30m]))'
_A_SECOND = f"sum(rate(runqueue_jobs_ended_total{{{CHOSEN}}}[30m]))"
_tile = partial(Panel, kind="stat", width=3)
_HELD = highest("runqueue_held", "account, kind")
_BUDGET = highest("runqueue_budget", "scope, budget", 'part="%s"')
_SHARE = f"{_BUDGET} / on (scope, budget) {_BUDGET}"

BOARD = Board(
    uid="runqueue-overview",
    title="overview",
    says="Is it submitting, and if not, why; how long is the line; what needs a person.",
    rows=[
        (
            "Now",
            [
                _tile(
                    "Queue can be read",
                    [("min(runqueue_up)", "")],
                    "Whether Redis answers the gateway.",
                    words=_YES,
                    alarms=1,
                    falling=True,
                    runbook="RunqueueUnreadable",
                ),
                Panel(
                    "Held by",
                    [(f"{_HELD} == 1", "{{account}}: {{kind}}")],
                    "What keeps submissions from going. `runqueue stats` has the words.",
                    kind="stat",
                    width=5,
                    alarms=1,
                    words={1: ("held", "red")},
                    runbook="RunqueueAccountHeld",
                ),
                _tile(
                    "Workers",
                    [(f"max(runqueue_worker_processes{{{CHOSEN}}})", "")],
                    "Processes whose lease holds, of the account that has most: one serves many.",
                    alarms=1,
                    falling=True,
                    runbook="RunqueueNoWorkers",
                ),
                _tile(
                    "Wait in line",
                    [(total("runqueue_jobs", matching='state="ready"'), "")],
                    "Jobs that are ready to go.",
                ),
                _tile(
                    "Oldest waits",
                    [(f"max(runqueue_oldest_ready_seconds{{{CHOSEN}}})", "")],
                    "How long the longest-waiting ready job has waited.",
                    unit="s",
                    warns=600,
                    alarms=1800,
                    runbook="RunqueueOldestJobWaits",
                ),
                _tile(
                    "In flight",
                    [(total("runqueue_in_flight"), "")],
                    "Jobs that take one of the plan's slots.",
                ),
                Panel(
                    "Will take",
                    [(f"{total('runqueue_jobs', matching=_OPEN)} / ({_A_SECOND} > 0)", "")],
                    "All open jobs, at the pace of the last half hour.",
                    unit="s",
                    kind="stat",
                    width=4,
                ),
            ],
        ),
        (
            "What needs a person",
            [
                _tile(
                    "Unconfirmed",
                    [(total("runqueue_jobs", matching='state="unconfirmed"'), "")],
                    "Jobs that may have a run nobody knows of: they are looked for.",
                    warns=1,
                    alarms=10,
                    runbook="RunqueueUnconfirmed",
                ),
                _tile(
                    "Dead",
                    [(total("runqueue_jobs", matching='state="dead"'), "")],
                    "Jobs without a run that need a person: `runqueue dead list`.",
                    warns=1,
                    alarms=100,
                    runbook="RunqueueDeadGrowing",
                ),
                _tile(
                    "Runs that fail",
                    [(f"{_ENDED % 'failed'} / ({_ENDED % 'completed|failed'} > 0)", "")],
                    "Of the runs that ended within half an hour, all accounts together.",
                    unit="percentunit",
                    warns=0.2,
                    alarms=0.5,
                    runbook="RunqueueFailureRatio",
                ),
                _tile(
                    "New errors",
                    [(total("runqueue_archive_new_errors"), "")],
                    "Groups of errors first seen within 24 hours that have ten jobs within one.",
                    warns=1,
                    alarms=5,
                    runbook="RunqueueNewErrors",
                ),
                _tile(
                    "Lines refused",
                    [(total("runqueue_inbox_lines", matching='state="refused"'), "")],
                    "Lines of the inbox and of Celery messages: `runqueue inbox list`.",
                    warns=1,
                    alarms=100,
                    runbook="RunqueueLinesRefused",
                ),
                _tile(
                    "Quarantined jobs",
                    [(total("runqueue_quarantined_jobs"), "")],
                    "Their records cannot be read: `runqueue doctor`. All others go on.",
                    warns=1,
                    alarms=10,
                    runbook="RunqueueQuarantinedJobs",
                ),
                _tile(
                    "Oldest not archived",
                    [(f"max(runqueue_archive_oldest_seconds{{{CHOSEN}}})", "")],
                    "How long the first ended job has waited for the archive.",
                    unit="s",
                    warns=60,
                    alarms=600,
                    runbook="RunqueueArchiveWaits",
                ),
                _tile(
                    "Not archived",
                    [(f"sum(increase(runqueue_jobs_not_archived_total{{{CHOSEN}}}[1h]))", "")],
                    "Jobs removed in an hour that the archive lacks.",
                    alarms=1,
                    runbook="RunqueueNotArchived",
                ),
                _tile(
                    "Paused runs",
                    [(total("runqueue_paused_runs"), "")],
                    "Runs that wait for a person: `runqueue jobs list --paused`.",
                    warns=1,
                ),
                _tile(
                    "Orphan runs",
                    [(f"{total('runqueue_slots_taken')} - {total('runqueue_in_flight')}", "")],
                    "Runs of ours that no job owns; they may be live, and take slots.",
                    warns=1,
                    alarms=5,
                    runbook="RunqueueOrphans",
                ),
                _tile(
                    "Abandoned webhooks",
                    [(total("runqueue_webhooks", matching='state=~"abandoned|unknown"'), "")],
                    "Webhooks that were abandoned, or whose fate is unknown.",
                    warns=1,
                    alarms=100,
                    runbook="RunqueueDeliveryAbandoned",
                ),
            ],
        ),
        (
            "Flow",
            [
                Panel(
                    "Jobs by state",
                    [(total("runqueue_jobs", "state", _OPEN), "{{state}}")],
                    "Jobs that have not ended, by where they stand.",
                    stacks=True,
                ),
                Panel(
                    "In and out",
                    [
                        (rate("runqueue_jobs_enqueued_total"), "enqueued"),
                        (rate("runqueue_jobs_ended_total", "outcome"), "{{outcome}}"),
                    ],
                    "Jobs a second.",
                    unit="reqps",
                ),
                Panel(
                    "Submissions",
                    [(rate("runqueue_submissions_total", "outcome"), "{{outcome}}")],
                    "By what the answer meant: unknown and refused need a look.",
                    unit="reqps",
                    stacks=True,
                    runbook="RunqueueLimitUnused",
                ),
            ],
        ),
        (
            "Archive",
            [
                Panel(
                    "Jobs",
                    [
                        (total("runqueue_archive_waiting_jobs"), "waiting"),
                        (total("runqueue_archive_aside_jobs"), "cannot be stored"),
                        (total("runqueue_archive_failing"), "archives that fail"),
                    ],
                    "Ended jobs that are not in the archive.",
                ),
                Panel(
                    "Written",
                    [(rate("runqueue_jobs_archived_total"), "")],
                    "Jobs a second.",
                    unit="reqps",
                ),
            ],
        ),
        (
            "Keys and budgets",
            [
                Panel(
                    "Budgets spent",
                    [(_SHARE % ("spent", "limit"), "{{budget}}")],
                    "The share of each that is spent in its day or month. At 1 its jobs wait.",
                    unit="percentunit",
                    warns=0.8,
                    alarms=1,
                    runbook="RunqueueBudgetSpent",
                ),
                Panel(
                    "Budgets committed",
                    [(_SHARE % ("committed", "limit"), "{{budget}}")],
                    "The share of each that its live runs are expected to take.",
                    unit="percentunit",
                    runbook="RunqueueBudgetNearlySpent",
                ),
                Panel(
                    "Keys that jobs wait for",
                    [(total("runqueue_keys_waited_for"), "")],
                    "Keys whose limit or budget is reached: `runqueue keys list`.",
                ),
                Panel(
                    "Waits for a key",
                    [(f"max(runqueue_key_wait_seconds{{{CHOSEN}}})", "")],
                    "How long the longest-waiting of these jobs has waited.",
                    unit="s",
                ),
            ],
        ),
        (
            "How long it takes",
            [
                Panel(
                    "From ready to result",
                    shares("runqueue_job_result_seconds"),
                    "From when a job could go to its end being recorded.",
                    unit="s",
                ),
                Panel(
                    "Where the time goes, on average",
                    [
                        (mean("runqueue_job_queue_seconds"), "our queue"),
                        (mean("runqueue_run_queue_seconds"), "Skyvern's queue"),
                        (mean("runqueue_run_seconds"), "running"),
                        (mean("runqueue_webhook_delivery_seconds"), "delivery"),
                    ],
                    "The parts of it. Our queue is the limits' doing, or the workers'.",
                    unit="s",
                    stacks=True,
                ),
                Panel(
                    "In our queue",
                    shares("runqueue_job_queue_seconds"),
                    "From when a job could go to its run's acceptance.",
                    unit="s",
                    runbook="RunqueueOldestJobWaits",
                ),
            ],
        ),
    ],
)
