"""What it costs to follow many runs at once, on a clock that runs faster than it would.

The rivals' delays are real, so time cannot be simulated for them. Runs of 5 minutes, looked at
every 5 s, are scaled: `scale` 2.5 = runs of 2 minutes, looked at every 2 s, 60 looks as well.
Ours reads lists instead; its least and most seconds between two looks are scaled likewise.
"""

from dataclasses import dataclass

from bench.others.contenders import Contender, Told
from bench.others.cost import bodies
from bench.others.ledger import Calls, Quiet, calls
from bench.others.usage import Usage, usage
from bench.stack import running, until

#: Seconds of a run, between two looks of a rival, and least between two of ours.
_RUN, _LOOK, _LEAST = 300.0, 5.0, 2.0

#: A rival that needs so much more than a run's time does not keep up.
_PATIENCE = 2.0


@dataclass(frozen=True, slots=True)
class InFlight:
    """A run's cost.

    Attributes:
        workers, redis: CPU milliseconds.
        commands: of Redis.
        calls: API calls.
        most_live: runs that were live at once.
        late: how much longer than one run all of them took, in runs' lengths; None = it gave up.
    """

    workers: float
    redis: float
    commands: float
    calls: float
    most_live: int
    late: float | None


def measure(contender: Contender, count: int, scale: float) -> InFlight:
    """Have so many runs live at once, submitted as fast as can be, until nobody looks any more."""
    duration, look = _RUN / scale, _LOOK / scale
    told = Told(look, _LEAST / scale, at_once=count + 100)
    readings: list[tuple[Calls, Usage]] = []
    quiet = Quiet()
    with running("--duration", f"{duration:g}") as stack:
        contender.hand_in(stack, bodies(1))
        with contender.workers(stack, 1, told) as pids:
            until(lambda: calls(stack.base_url).posts > 0, 60, "the first submission")
            first = usage(pids, stack.broker_url)
            contender.hand_in(stack, bodies(count - 1, 1))

            def is_over() -> bool:
                seen = calls(stack.base_url)
                still = quiet.seconds(seen)
                if still == 0:
                    readings.append((seen, usage(pids, stack.broker_url)))
                # Ours waits six looks' time at most, and reads each run that is over by itself.
                return min(seen.posts, seen.gets) >= count and not seen.live and still > 8 * look

            late: float | None = None
            try:
                until(is_over, _PATIENCE * duration + 60, "the end", every=look)
                late = readings[-1][1].since(first).at / duration - 1
            except TimeoutError:
                pass
    seen, used = readings[-1][0], readings[-1][1].since(first)
    return InFlight(
        1000 * used.workers / count,
        1000 * used.redis / count,
        used.commands / count,
        seen.all / count,
        seen.most_live,
        late,
    )
