"""Skyvern's API: limits and how they are used, latency, failures, cost."""

from ops.boards.asking import SPAN, highest, rate, shares, total
from ops.panels import CHOSEN, Board, Panel

_HTTP = "runqueue_http_request_seconds"
_ENDS = rate("runqueue_run_ends_total")

BOARD = Board(
    uid="runqueue-api",
    title="API health",
    says="Whether Skyvern answers, how fast, and whether its limits are used and kept.",
    rows=[
        (
            "Limits",
            [
                Panel(
                    "Submissions against the limit",
                    [
                        (rate("runqueue_api_calls_total", matching='call="submit"'), "submissions"),
                        (total("runqueue_pace"), "pace now"),
                        (
                            total("runqueue_limit", matching='limit="submissions_per_second"'),
                            "limit",
                        ),
                    ],
                    "The pace is below the limit while the server answers 429, and where 70 % of"
                    " all calls are less.",
                    unit="reqps",
                    runbook="RunqueueLimitUnused",
                ),
                Panel(
                    "Slots against the plan",
                    [
                        (total("runqueue_slots_taken"), "taken"),
                        (total("runqueue_others_runs"), "by others"),
                        (total("runqueue_long_queued_runs"), "long queued at Skyvern"),
                        (total("runqueue_limit", matching='limit="concurrent_runs"'), "limit"),
                    ],
                    "Jobs in flight, orphan runs and live runs of others, against the plan.",
                ),
                Panel(
                    "All calls against the limit",
                    [
                        (rate("runqueue_api_calls_total", "call"), "{{call}}"),
                        (total("runqueue_limit", matching='limit="requests_per_second"'), "limit"),
                    ],
                    "Calls that permits were taken for.",
                    unit="reqps",
                ),
                Panel(
                    "Seconds without an answer to a read",
                    [(highest("runqueue_reads_failing_seconds", "account"), "{{account}}")],
                    "Above 0: runs are live, and nobody can tell how they do.",
                    unit="s",
                    runbook="RunqueueReadsFail",
                ),
                Panel(
                    "Permits left",
                    [(total("runqueue_permits", "limiter"), "{{limiter}}")],
                    "Calls that may go at this moment; 0 for long = the limit binds.",
                ),
                Panel(
                    "Limits as they are set",
                    [(total("runqueue_limit_setting", "account, limit, source"), "")],
                    "By the environment, and live by a person, which wins.",
                    kind="table",
                ),
                Panel(
                    "Held by",
                    [(highest("runqueue_held", "kind"), "{{kind}}")],
                    "What kept submissions from going, over time.",
                    kind="state-timeline",
                    words={0: ("no", "transparent"), 1: ("held", "red")},
                    runbook="RunqueueBreakerOpen",
                ),
            ],
        ),
        (
            "Answers",
            [
                Panel(
                    "Time of a call",
                    shares(_HTTP),
                    "As the workers measure it, all calls together.",
                    unit="s",
                ),
                Panel(
                    "Answers by class",
                    [(rate(f"{_HTTP}_count", "status"), "{{status}}")],
                    "none = no answer came.",
                    unit="reqps",
                    stacks=True,
                    runbook="RunqueueBreakerOpen",
                ),
                Panel(
                    "Slowest half by call",
                    [
                        (
                            (
                                "histogram_quantile(0.5, sum by (le, call)"
                                f" (rate({_HTTP}_bucket{{{CHOSEN}}}[{SPAN}])))"
                            ),
                            "{{call}}",
                        )
                    ],
                    "The median of each kind of call.",
                    unit="s",
                ),
            ],
        ),
        (
            "Runs",
            [
                Panel(
                    "Calls per finished run",
                    [(f"{rate('runqueue_api_calls_total')} / ({_ENDS} > 0)", "calls")],
                    "2 to 3 with webhooks; more where runs are polled.",
                    warns=5,
                    alarms=10,
                ),
                Panel(
                    "In Skyvern's queue",
                    shares("runqueue_run_queue_seconds"),
                    "From a run's acceptance to its start: long = the plan's runs are all taken.",
                    unit="s",
                ),
                Panel(
                    "Time of a run",
                    shares("runqueue_run_seconds"),
                    "From a run's start to its end.",
                    unit="s",
                ),
                Panel(
                    "Steps",
                    [
                        (rate("runqueue_steps_total"), "a second"),
                        (f"{rate('runqueue_steps_total')} / ({_ENDS} > 0)", "per run"),
                    ],
                    "What Skyvern counts of every run.",
                ),
                Panel(
                    "Credits",
                    [(rate("runqueue_credits_total", "which"), "{{which}} a second")],
                    "What Skyvern's cloud bills; cached and estimated ones are among all.",
                ),
                Panel(
                    "Credits by group",
                    [(highest("runqueue_group_credits", "group", 'which="all"'), "{{group}}")],
                    "Since ever, of the groups that took most.",
                ),
                Panel(
                    "How ends became known",
                    [(rate("runqueue_run_ends_total", "way"), "{{way}}")],
                    "missed_webhook = polled, although a webhook should have come.",
                    unit="reqps",
                    stacks=True,
                    runbook="RunqueueWebhooksMissed",
                ),
                Panel(
                    "Outcomes",
                    [(rate("runqueue_jobs_ended_total", "outcome"), "{{outcome}}")],
                    "Jobs that ended.",
                    unit="reqps",
                    stacks=True,
                ),
            ],
        ),
    ],
)
