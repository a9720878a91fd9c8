"""Workers and Redis: who is there, how busy, how healthy."""

from ops.boards.asking import SPAN, highest, rate, rise, shares
from ops.panels import CHOSEN, Board, Panel

_OK = {0: ("no", "red"), 1: ("yes", "green")}
_ROOMS = 'job=~"runqueue-worker|runqueue-gateway"'

BOARD = Board(
    uid="runqueue-workers",
    title="workers and Redis",
    says="Who is there, how busy, how healthy.",
    rows=[
        (
            "Workers",
            [
                Panel(
                    "Processes",
                    [(f"sum by (account) (runqueue_worker_processes{{{CHOSEN}}})", "{{account}}")],
                    "Whose lease holds.",
                    alarms=1,
                    falling=True,
                    runbook="RunqueueNoWorkers",
                ),
                Panel(
                    "Age of heartbeats",
                    [
                        (highest("runqueue_worker_heartbeat_age_seconds", "which"), "{{which}}"),
                        (f"max(runqueue_last_tick_age_seconds{{{CHOSEN}}})", "last tick"),
                    ],
                    "One comes every 5 s; a lease ends after 15 s without.",
                    unit="s",
                    warns=10,
                    alarms=15,
                    runbook="RunqueueNoWorkers",
                ),
                Panel(
                    "Event loop's lag",
                    shares("runqueue_loop_lag_seconds", 'job="runqueue-worker"'),
                    "How late timers come: long = the process has more to do than a core can.",
                    unit="s",
                    warns=0.1,
                    alarms=0.5,
                ),
                Panel(
                    "Open calls",
                    [(f"sum by (stage) (runqueue_consumer_busy{{{CHOSEN}}})", "{{stage}}")],
                    "By stage; 100 a stage and process at most.",
                    stacks=True,
                ),
                Panel(
                    "CPU",
                    [
                        (
                            f"rate(process_cpu_seconds_total{{{_ROOMS}}}[{SPAN}])",
                            "{{job}} {{instance}}",
                        )
                    ],
                    "Of one core each.",
                    unit="percentunit",
                    warns=0.8,
                    alarms=0.95,
                ),
                Panel(
                    "Memory",
                    [(f"process_resident_memory_bytes{{{_ROOMS}}}", "{{job}} {{instance}}")],
                    "What each process takes of its machine.",
                    unit="bytes",
                ),
                Panel(
                    "Deaths",
                    [
                        (rise("runqueue_lease_takeovers_total"), "processes"),
                        (rise("runqueue_claims_taken_over_total"), "claims"),
                        (rise("runqueue_jobs_crash_looped_total"), "crash loops"),
                    ],
                    "Processes, their claims that others took over, jobs that kill them.",
                ),
                Panel(
                    "Stale writes refused",
                    [(rate("runqueue_fence_refusals_total", "transition"), "{{transition}}")],
                    "Of workers that were late: the job had moved on.",
                    unit="reqps",
                ),
                Panel(
                    "What runs",
                    [("count by (component, version, python) (runqueue_build_info)", "")],
                    "Versions, and how many processes of each.",
                    kind="table",
                ),
            ],
        ),
        (
            "Redis",
            [
                Panel(
                    "Append-only file",
                    [
                        ("min(runqueue_redis_aof_enabled)", "on"),
                        ("min(runqueue_redis_aof_last_write_ok)", "written"),
                        ("min(runqueue_redis_aof_last_rewrite_ok)", "rewritten"),
                    ],
                    "All three have to be yes, or a restart loses jobs.",
                    kind="stat",
                    width=8,
                    words=_OK,
                    alarms=1,
                    falling=True,
                    runbook="RunqueueRedisAofFails",
                ),
                Panel(
                    "Eviction policy",
                    [("max by (policy) (runqueue_redis_info)", "{{policy}}")],
                    "It has to be noeviction.",
                    kind="stat",
                    width=5,
                    words={1: ("in force", "blue")},
                    runbook="RunqueueRedisEvicts",
                ),
                Panel(
                    "Keys dropped",
                    [("sum(runqueue_redis_evicted_keys_total)", "")],
                    "Since Redis was started; each was a part of a job.",
                    kind="stat",
                    width=5,
                    alarms=1,
                    runbook="RunqueueRedisEvicts",
                ),
                Panel(
                    "Up for",
                    [("min(runqueue_redis_uptime_seconds)", "")],
                    "Since Redis was started.",
                    unit="s",
                    kind="stat",
                    width=6,
                ),
                Panel(
                    "Memory of Redis",
                    [
                        ("max(runqueue_redis_memory_used_bytes)", "used"),
                        ("max(runqueue_redis_memory_resident_bytes)", "resident"),
                        ("max(runqueue_redis_memory_max_bytes) > 0", "limit"),
                    ],
                    "About 1 kB a queued job. Full, it takes no more jobs.",
                    unit="bytes",
                    runbook="RunqueueRedisFillsUp",
                ),
                Panel(
                    "Commands",
                    [(f"sum(rate(runqueue_redis_commands_total[{SPAN}]))", "a second")],
                    "What all clients ask.",
                    unit="ops",
                ),
                Panel(
                    "CPU of Redis",
                    [
                        (f"sum(rate(runqueue_redis_cpu_user_seconds_total[{SPAN}]))", "user"),
                        (f"sum(rate(runqueue_redis_cpu_system_seconds_total[{SPAN}]))", "system"),
                    ],
                    "Of one core: Redis runs scripts on one.",
                    unit="percentunit",
                    stacks=True,
                    warns=0.7,
                    alarms=0.9,
                ),
                Panel(
                    "Clients",
                    [
                        ("max(runqueue_redis_clients)", "connected"),
                        ("max(runqueue_redis_blocked_clients)", "blocked"),
                        ("max(runqueue_redis_replicas)", "replicas"),
                    ],
                    "Connections; blocked ones wait for work, which is fine.",
                ),
                Panel(
                    "Time of a scrape",
                    [('scrape_duration_seconds{job=~"runqueue-.*"}', "{{job}} {{instance}}")],
                    "What Prometheus waits for the figures.",
                    unit="s",
                    warns=1,
                    alarms=5,
                ),
                Panel(
                    "Refused calls",
                    [
                        (
                            f"sum by (reason) (rate(runqueue_gateway_refused_total[{SPAN}]))",
                            "{{reason}}",
                        )
                    ],
                    "Of the gateways: no token, a wrong one, or one that may not.",
                    unit="reqps",
                    stacks=True,
                    runbook="RunqueueTokensRefused",
                ),
                Panel(
                    "Notifications",
                    [
                        (
                            rate("runqueue_notifications_total", "event, result"),
                            "{{event}} {{result}}",
                        )
                    ],
                    "By what became of each.",
                    unit="reqps",
                    runbook="RunqueueNotificationsFail",
                ),
                Panel(
                    "Clock correction",
                    [(highest("runqueue_clock_correction_seconds", "account"), "{{account}}")],
                    "For steps of the clock of Redis' host; below 0, too.",
                    unit="s",
                ),
            ],
        ),
    ],
)
