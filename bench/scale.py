"""The rows of what is large: a million waiting, a hundred thousand in flight."""

import os

from bench import backlog, budgets, flight, groups, keys
from bench.slow import as_text

Row = tuple[str, str, str]


def backlog_rows() -> list[Row]:
    """A million waiting jobs against a thousand."""
    seen = backlog.measure()
    many, few = seen.many, seen.few
    waiting = f"{backlog.MANY:,} waiting to {backlog.FEW:,}"
    return [
        (
            f"worker's CPU a job, {waiting}",
            f"{many.worker:.3f} ms / {few.worker:.3f} ms = {many.worker / few.worker:.2f}",
            "at most 1.1",
        ),
        (
            "Redis' CPU a job, enqueuing included",
            f"{many.redis:.3f} ms / {few.redis:.3f} ms = {many.redis / few.redis:.2f}",
            "at most 1.1",
        ),
        (
            f"… its commands a job (allocator: {seen.allocator})",
            f"{many.commands:.1f} / {few.commands:.1f} = {many.commands / few.commands:.2f}",
            "at most 1.1",
        ),
        ("jobs a second meanwhile", f"{many.a_second:,.0f} to {few.a_second:,.0f}", ""),
        ("slow commands of Redis", as_text(seen.slow), "below 10 ms"),
    ]


def groups_rows() -> list[Row]:
    """What scripts cost with so many groups as `BENCH_GROUPS` says, by default up to a million."""
    rows: list[Row] = []
    for count in os.environ.get("BENCH_GROUPS", "1000,100000,1000000").split(","):
        for what, seen in groups.measure(int(count)).items():
            cost = (
                f"{seen.worst_ms:.1f} ms (CPU {seen.cpu_ms:.1f}), {seen.commands:,} commands, "
                f"the worst of {seen.calls:,}"
            )
            rows.append((f"{int(count):,} groups: {what}", cost, "below 10 ms"))
    return rows


def keys_rows() -> list[Row]:
    """A million jobs that name keys, with `BENCH_JOBS` others; a tenth as many keys."""
    jobs = int(os.environ.get("BENCH_JOBS", str(keys.JOBS)))
    every = keys.measure(jobs, jobs // 10, min(keys.CLAIMED, jobs // 10))
    plain = every["no key"]
    rows = [
        (
            f"{jobs:,} jobs, {what}: Redis' CPU a claim, a begin and an end",
            (
                f"{seen.claim_us:.1f} and {seen.end_us:.1f} µs "
                f"({seen.claim_us / plain.claim_us:.2f} and {seen.end_us / plain.end_us:.2f} "
                f"times), {seen.commands:,} commands a claim of 100, 99 % of the scripts below "
                f"{seen.high_ms:.1f} ms, slowest {seen.worst_ms:.1f} ms"
            ),
            "one key: at most 1.5 times; 8 ms",
        )
        for what, seen in every.items()
    ]
    return [
        *rows,
        *(
            (
                what,
                f"{seen.commands:,} commands, {seen.cpu_ms:.1f} ms of Redis' CPU, at most",
                "at most 2,500; 8 ms",
            )
            for what, seen in budgets.measure().items()
            if seen.commands
        ),
    ]


def flight_rows() -> list[Row]:
    """A hundred thousand runs in flight on one process."""
    seen = flight.measure()
    rows: list[Row] = []
    for what, phase in (("submitting them", seen.ramp), ("runs ending", seen.steady)):
        worker, server, simulator = phase.cpu
        lag = phase.lag
        rows += [
            (f"{seen.live:,} in flight, {what}: memory", f"{phase.most_mb:.0f} MB", "at most 150"),
            (
                f"… loop lag (n={lag.samples})",
                f"p50 {lag.quantile_ms(0.5):.1f} ms, p99 {lag.quantile_ms(0.99):.1f} ms",
                "p99 at most 10 ms",
            ),
            (
                f"… looks overdue by more than {flight.TOLERANCE:.0f} s, at once",
                f"{phase.overdue} (the latest by {phase.latest:.1f} s)",
                "0",
            ),
            (
                f"… cores of worker, Redis, simulator for {phase.seconds:.0f} s",
                f"{worker:.2f}, {server:.2f}, {simulator:.2f}",
                "",
            ),
        ]
    mean, p99, worst = seen.delays
    return [
        *rows,
        (f"ends recorded later than {seen.bound:.0f} s, of {seen.ended:,}", str(seen.missed), "0"),
        ("… from end to record", f"mean {mean:.1f} s, p99 {p99:.1f} s, most {worst:.1f} s", ""),
        ("… GETs, lists a second", f"{seen.gets:,.0f}, {seen.lists:.1f}", ""),
        ("slow commands of Redis", as_text(seen.slow), "below 10 ms"),
    ]
