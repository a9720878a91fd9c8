"""`make bench`: every figure from one run, as a table; ratios, since machines differ.

python -m bench [PART ...]   an unknown part lists those there are
"""

import signal
import sys
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from bench import (
    archive,
    cost,
    finished,
    intake,
    latency,
    limits,
    million,
    polling,
    scale,
    schedules,
    webhooks,
)

Row = tuple[str, str, str]


def _cost() -> list[Row]:
    seen = cost.measure()
    batch, (ours, old), (idle, old_idle) = seen.batch_ratio, seen.trickling, seen.idle
    return [
        (f"{what}, beside {cost.BASE}", ratio, reach)
        for what, ratio, reach in (
            ("worker, a job of a batch of 20,000", f"{batch.worker:.2f}", "at most 1.10"),
            ("Redis, likewise", f"{batch.redis:.2f}", "at most 1.05"),
            ("worker, a job that comes alone", _beside(ours.worker, old.worker), "at most 0.95"),
            ("Redis, likewise", _beside(ours.redis, old.redis), "at most 0.80"),
            ("worker, a second without work", _beside(idle.worker, old_idle.worker), ""),
            ("Redis, likewise", _beside(idle.redis, old_idle.redis), "at most 0.90"),
        )
    ]


def _beside(ours: float, old: float) -> str:
    return f"{ours:.2f} ms / {old:.2f} ms CPU = {ours / old:.2f}"


def _intake() -> list[Row]:
    seen = intake.measure()
    return [
        ("enqueue_many, validated, one process", f"{seen.enqueue_many:,.0f} jobs/s", "50,000"),
        (
            f"Redis bytes a queued job of {intake.BODY_BYTES} B",
            f"{seen.bytes_per_job:,.0f} B",
            "at most 1,200",
        ),
    ]


def _finished() -> list[Row]:
    rows: list[Row] = []
    kinds = ("a 1 kB result", False, "at most 1,500"), ("all of Skyvern's fields", True, "")
    for what, whole, reach in kinds:
        seen = finished.measure(whole=whole)
        took = "p50 {:.1f} ms, p99 {:.1f} ms".format(*seen.step_ms)
        parts = ", ".join(f"{name} {size:,.0f}" for name, size in seen.parts_packed.items() if size)
        rows += [
            (f"Redis bytes a finished job with {what}", f"{seen.packed:,.0f} B", reach),
            (f"… with {seen.result_bytes:,.0f} B of it, as they came", f"{seen.plain:,.0f} B", ""),
            ("… packed they are", parts, ""),
            ("… CPU of packing one, Redis' time a step", f"{seen.cpu_us:.0f} µs, {took}", ""),
        ]
    return rows


def _latency() -> list[Row]:
    warm = latency.measure(500)
    cold = latency.measure(60, (1.7, 2.2))
    return [
        (
            f"enqueue to POST, a consumer stays idle (n={warm.samples})",
            f"p50 {warm.p50:.1f} ms, p99 {warm.p99:.1f} ms, worst {warm.worst:.1f} ms",
            "",
        ),
        (
            f"enqueue to POST, idle for 2 s (n={cold.samples})",
            f"p50 {cold.p50:.1f} ms, p99 {cold.p99:.1f} ms, worst {cold.worst:.1f} ms",
            "",
        ),
    ]


def _limits() -> list[Row]:
    seen = limits.measure()
    return [
        (
            f"use of {limits.RATE}/s, burst {limits.BURST}, {limits.WORKERS} processes",
            f"{seen.used:.1%}",
            "at least 99 %",
        ),
        (
            "arrivals in the busiest second",
            str(seen.busiest_second),
            f"at most {limits.RATE + limits.BURST}",
        ),
        (f"most runs live at once, cap {limits.CAP}", str(seen.most_live), f"at most {limits.CAP}"),
    ]


def _webhooks() -> list[Row]:
    taken = webhooks.throughput()
    woken = webhooks.woken()
    return [
        ("webhooks received, of the gateway's CPU", f"{taken.a_core:,.0f} a core-second", "1,500"),
        (
            f"… {webhooks.AT_ONCE} at once, the load beside it",
            f"{taken.a_second:,.0f}/s, p50 {taken.p50:.1f} ms, p99 {taken.p99:.1f} ms",
            "",
        ),
        (
            f"webhook sent to wait returned (n={woken.samples})",
            f"p50 {woken.p50:.1f} ms, p99 {woken.p99:.1f} ms",
            "",
        ),
    ]


def _million() -> list[Row]:
    rows: list[Row] = []
    for way, over_http, reach in (("Redis", False, "20,000"), ("a gateway", True, "8,000")):
        seen = million.measure(over_http=over_http)
        rows += [
            (f"{seen.lines:,} lines through {way}", f"{seen.a_second:,.0f} lines/s", reach),
            (
                f"… memory of the command, {million.SMALL:,} lines → all",
                f"{seen.small_mb:.0f} → {seen.most_mb:.0f} MB",
                "flat",
            ),
            (
                f"… killed after {seen.kept:,}, submitted again: jobs",
                f"{seen.jobs:,}",
                f"{seen.lines:,}",
            ),
            ("… of them submitted before the batch was sealed", str(seen.ran_before), "0"),
            (f"… canceled in {seen.cancel_ms:.1f} ms, submitted 100 ms later", str(seen.late), "0"),
            ("… Redis bytes a job", f"{seen.redis_bytes:,.0f} B", ""),
        ]
        if seen.gateway_mb:
            before, most = seen.gateway_mb
            rows.append(("… memory of the gateway", f"{before:.0f} → {most:.0f} MB", "flat"))
    return rows


def _polling() -> list[Row]:
    rows = []
    for minutes, spread in polling.SCENARIOS:
        seen = polling.measure(60 * minutes, spread=spread)
        bare = polling.measure(60 * minutes, spread=spread, lists=False)
        what = f"runs of {minutes} min ±{spread:.0%}"
        delay = max(6, 0.02 * 60 * minutes)
        rows += [
            (
                f"API calls a run, 1,000 live, {what}",
                f"{seen.calls:.2f} ({seen.lists:.2f} lists, {seen.gets:.2f} GETs)",
                "at most 2.3",
            ),
            (
                "… from its end to its record",
                f"mean {seen.delay:.1f} s, p99 {seen.worst:.1f} s",
                f"at most {delay:.0f} s",
            ),
            (
                f"… to those of a GET per look ({bare.calls:.1f} calls, {bare.delay:.1f} s)",
                f"{seen.calls / bare.calls:.3f}, {seen.delay / bare.delay:.2f}",
                "",
            ),
            (
                "… and to its Redis' commands and CPU a run",
                f"{seen.commands / bare.commands:.2f}, {seen.cpu_ms / bare.cpu_ms:.2f}",
                "below 1",
            ),
        ]
    return rows


PARTS: dict[str, Callable[[], list[Row]]] = {
    "cost": _cost,
    "intake": _intake,
    "finished": _finished,
    "latency": _latency,
    "limits": _limits,
    "webhooks": _webhooks,
    "million": _million,
    "polling": _polling,
    "backlog": scale.backlog_rows,
    "groups": scale.groups_rows,
    "keys": scale.keys_rows,
    "flight": scale.flight_rows,
    "archive": archive.rows,
    "schedules": schedules.rows,
}
#: Parts that are measured unless others are asked for; those take minutes.
_SHORT = ("cost", "intake", "latency", "limits", "webhooks")


def main(names: list[str]) -> int:
    """Run the named parts, all of them by default, and print the table."""
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        Console(stderr=True).print(f"no such part: {unknown[0]}; there are {', '.join(PARTS)}")
        return 2
    # Else the signal that ends it leaves its workers and servers behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for name in names or _SHORT:
        Console(stderr=True).print(f"measuring {name} …")
        table = Table("figure", "seen", "reach")
        for row in PARTS[name]():
            table.add_row(*row)
        Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
