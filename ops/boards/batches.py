"""Batches, groups and the inbox: whose work it is, and how far it has come."""

from ops.boards.asking import rate, rise, total
from ops.panels import Board, Panel

_ENDED, _WAITING, _LIVE = 'state="ended"', 'state="waiting"', 'state="live"'

BOARD = Board(
    uid="runqueue-batches",
    title="batches",
    says="How batches and schedules go on, which groups wait, what lies in the inbox.",
    rows=[
        (
            "Batches",
            [
                Panel(
                    "The newest 200 by how they stand",
                    [(total("runqueue_batches", "status"), "{{status}}")],
                    "held: paused, waiting for its canary, aborted, or being canceled.",
                    stacks=True,
                ),
                Panel(
                    "Jobs of open batches",
                    [(total("runqueue_batch_jobs", "state"), "{{state}}")],
                    "Of those of the newest 200 that are not finished.",
                    stacks=True,
                ),
                Panel(
                    "Done of open batches",
                    [
                        (
                            (
                                f"{total('runqueue_batch_jobs', matching=_ENDED)} /"
                                f" ({total('runqueue_batch_jobs')} > 0)"
                            ),
                            "done",
                        )
                    ],
                    "The share of their jobs that has ended.",
                    unit="percentunit",
                ),
                Panel(
                    "What happened to batches",
                    [(rise("runqueue_batch_events_total", "event"), "{{event}}")],
                    "aborted: by their own rules; expired: their upload was never finished.",
                ),
                Panel(
                    "Callbacks of batches",
                    [(rise("runqueue_batch_callbacks_total", "outcome"), "{{outcome}}")],
                    "abandoned: `runqueue batch show` says why the callback_url did not get it.",
                    runbook="RunqueueDeliveryAbandoned",
                ),
            ],
        ),
        (
            "The line",
            [
                Panel(
                    "Ready, by priority",
                    [(total("runqueue_jobs", "priority", 'state="ready"'), "{{priority}}")],
                    "Priorities are strict: a lower one waits for every higher one.",
                    stacks=True,
                ),
                Panel(
                    "May be claimed",
                    [
                        (total("runqueue_claimable_jobs"), "claimable"),
                        (total("runqueue_jobs", matching='state="ready"'), "ready"),
                    ],
                    "The difference is held: batches, paused groups, groups at their cap.",
                ),
                Panel(
                    "Scheduled",
                    [(total("runqueue_jobs", matching='state="scheduled"'), "scheduled")],
                    "Jobs that wait for their time, or to be run again.",
                ),
                Panel(
                    "Busiest groups: waiting",
                    [(f"topk(21, {total('runqueue_group_jobs', 'group', _WAITING)})", "{{group}}")],
                    "The 20 with most jobs ready or live; all others are `other`.",
                    kind="bargauge",
                    width=12,
                ),
                Panel(
                    "Busiest groups: live",
                    [(f"topk(21, {total('runqueue_group_jobs', 'group', _LIVE)})", "{{group}}")],
                    "Slots that they take.",
                    kind="bargauge",
                    width=12,
                ),
            ],
        ),
        (
            "Schedules",
            [
                Panel(
                    "Schedules",
                    [(total("runqueue_schedules", "state"), "{{state}}")],
                    "paused: `runqueue schedules show` says why.",
                    runbook="RunqueueSchedulePaused",
                ),
                Panel(
                    "Firings",
                    [(rise("runqueue_firings_total", "outcome"), "{{outcome}}")],
                    "failed: none of their jobs completed; missed: no worker was there in time.",
                    runbook="RunqueueFiringMissed",
                ),
                Panel(
                    "Late by",
                    [('max(runqueue_schedule_late_seconds{account=~"$account"})', "late")],
                    "For so long no worker has looked at the schedule that is most overdue.",
                    unit="s",
                    runbook="RunqueueScheduleLate",
                ),
            ],
        ),
        (
            "The inbox",
            [
                Panel(
                    "Lines",
                    [(total("runqueue_inbox_lines", "state"), "{{state}}")],
                    "refused: `runqueue inbox list` says why.",
                    width=12,
                ),
                Panel(
                    "Enqueued",
                    [(rate("runqueue_jobs_enqueued_total"), "jobs")],
                    "Jobs a second, by every route: Redis, HTTP, batches, the inbox.",
                    unit="reqps",
                    width=12,
                ),
            ],
        ),
    ],
)
