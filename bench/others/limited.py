"""A limit of 50 submissions a second that two workers have to keep together."""

from contextlib import suppress
from dataclasses import dataclass

from bench.others.contenders import Contender, Told
from bench.others.cost import bodies
from bench.others.ledger import calls, runs
from bench.stack import running, until

RATE, WORKERS = 50, 2


@dataclass(frozen=True, slots=True)
class Limited:
    """Use of the limit in the middle of the work, and the most submissions within a second."""

    used: float
    busiest_second: int


def measure(contender: Contender, count: int = 1000) -> Limited:
    """Submit so many jobs before the workers start, and see when their runs were made.

    After three times what the limit needs, what was made by then is looked at.
    """
    told = Told(look_seconds=0.5, least_seconds=0.5, rate=RATE)
    with running("--duration", "0.1") as stack:
        contender.hand_in(stack, bodies(count))
        with contender.workers(stack, WORKERS, told):
            until(lambda: calls(stack.base_url).posts > 0, 60, "the first submission")
            with suppress(TimeoutError):
                until(lambda: calls(stack.base_url).posts >= count, 3 * count / RATE, "", every=0.5)
            made = [run["created"] for run in runs(stack.base_url)]
            busiest = calls(stack.base_url).busiest_second
    # Neither the start, when one worker may be alone, nor the end, when one may be done.
    middle = made[len(made) // 5 : -len(made) // 5]
    return Limited((len(middle) - 1) / (middle[-1] - middle[0]) / RATE, busiest)
