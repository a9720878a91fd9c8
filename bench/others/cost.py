"""What one job costs each contender, a POST and a GET: CPU by process, Redis' commands."""

from dataclasses import dataclass

from bench.cost import lines
from bench.others.contenders import (
    ARQ,
    BULLMQ,
    DRAMATIQ,
    OURS,
    PREFORK,
    TASKIQ,
    THREADS,
    Body,
    Contender,
    Told,
)
from bench.others.ledger import calls
from bench.others.usage import usage
from bench.stack import Stack, running, until

#: Jobs of a measurement: some 10 s of work each.
JOBS: dict[Contender, int] = {
    OURS: 16_000,
    BULLMQ: 16_000,
    TASKIQ: 8_000,
    ARQ: 6_000,
    DRAMATIQ: 2_000,
    THREADS: 2_000,
    PREFORK: 2_000,
}


@dataclass(frozen=True, slots=True)
class Cost:
    """A job's cost.

    Attributes:
        workers, redis: CPU milliseconds.
        commands: of Redis, those within scripts included.
        a_second: jobs a second of the clock.
        posts, gets: calls.
    """

    workers: float
    redis: float
    commands: float
    a_second: float
    posts: float
    gets: float


def bodies(count: int, start: int = 0) -> list[Body]:
    """Return request bodies of about 600 bytes, each with a URL of its own."""
    return [line["body"] for line in lines(count, start)]


def measure(contender: Contender, told: Told, count: int) -> Cost:
    """Let one worker do a quarter of the jobs to warm up, then enqueue the rest and measure.

    All of a measured job's work falls within the measurement, which a cut in the middle of a line
    of tasks would not give: all submissions come first there, and all looks last.
    """
    warm = count // 4
    with running("--duration", "0") as stack:
        contender.hand_in(stack, bodies(warm))
        with contender.workers(stack, 1, told) as pids:
            _until_looked_at(stack, warm)
            seen, before = calls(stack.base_url), usage(pids, stack.broker_url)
            contender.hand_in(stack, bodies(count - warm, warm))
            _until_looked_at(stack, count)
            used, seen_then = usage(pids, stack.broker_url).since(before), calls(stack.base_url)
    jobs = count - warm
    return Cost(
        1000 * used.workers / jobs,
        1000 * used.redis / jobs,
        used.commands / jobs,
        jobs / used.at,
        (seen_then.posts - seen.posts) / jobs,
        (seen_then.gets - seen.gets) / jobs,
    )


def _until_looked_at(stack: Stack, count: int) -> None:
    """Wait for so many looks, one a job here; seldom, since the ledger's sums take the CPU."""
    until(lambda: calls(stack.base_url).gets >= count, 300, f"{count} looks", every=0.25)
