"""Webhooks: Skyvern's to us, and ours to the users."""

from ops.boards.asking import SPAN, rate, shares, total
from ops.panels import Board, Panel

_CAME = rate("runqueue_run_ends_total", matching='way="webhook"')
_EXPECTED = rate("runqueue_run_ends_total", matching='way=~"webhook|missed_webhook"')

BOARD = Board(
    uid="runqueue-webhooks",
    title="webhooks",
    says="Whether Skyvern's webhooks come, and whether the users' arrive.",
    rows=[
        (
            "Skyvern's to us",
            [
                Panel(
                    "Share that comes",
                    [(f"{_CAME} / ({_EXPECTED} > 0)", "share")],
                    "Of the runs that a webhook should have ended, those that one did.",
                    unit="percentunit",
                    warns=0.8,
                    alarms=0.95,
                    falling=True,
                    runbook="RunqueueWebhooksMissed",
                ),
                Panel(
                    "Received, by verdict",
                    [
                        (
                            (
                                "sum by (verdict) (rate(runqueue_webhook_received_total"
                                f'{{account=~"$account|"}}[{SPAN}]))'
                            ),
                            "{{verdict}}",
                        )
                    ],
                    "bad_signature and bad_address: not Skyvern's, or a key was changed.",
                    unit="reqps",
                    stacks=True,
                ),
                Panel(
                    "Time to take one",
                    shares("runqueue_webhook_seconds", 'job="runqueue-gateway"'),
                    "Skyvern waits for 5 s and tries three times.",
                    unit="s",
                    warns=1,
                    alarms=5,
                ),
            ],
        ),
        (
            "Ours to the users",
            [
                Panel(
                    "Settled",
                    [(rate("runqueue_webhook_deliveries_total", "outcome"), "{{outcome}}")],
                    "abandoned and unknown need a look: `runqueue webhooks list --abandoned`.",
                    unit="reqps",
                    stacks=True,
                    runbook="RunqueueDeliveryAbandoned",
                ),
                Panel(
                    "From end to delivery",
                    shares("runqueue_webhook_delivery_seconds"),
                    "How late the users hear of their runs' ends.",
                    unit="s",
                ),
                Panel(
                    "How they stand",
                    [(total("runqueue_webhooks", "state", 'state!="delivered"'), "{{state}}")],
                    "Webhooks of jobs on record that are not delivered.",
                    stacks=True,
                    runbook="RunqueueDeliveryAbandoned",
                ),
                Panel(
                    "Tries to send",
                    [(rate("runqueue_webhook_relayed_total", "result"), "{{result}}")],
                    "By the workers, by what became of each.",
                    unit="reqps",
                    stacks=True,
                ),
                Panel(
                    "Asked of Skyvern again",
                    [(rate("runqueue_webhook_redeliveries_total", "result"), "{{result}}")],
                    "Webhooks that did not come, or not arrive.",
                    unit="reqps",
                    stacks=True,
                ),
                Panel(
                    "Limit of webhooks",
                    [
                        (rate("runqueue_webhook_relayed_total"), "sent"),
                        (total("runqueue_limit", matching='limit="webhooks_per_second"'), "limit"),
                    ],
                    "Webhooks relayed a second, all workers together.",
                    unit="reqps",
                ),
            ],
        ),
    ],
)
