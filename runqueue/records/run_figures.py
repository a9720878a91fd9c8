"""What runs take: as the scripts read it of one run, and as records and counters keep the sums."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

#: What is believed of what a server reports: under thirty years, and fewer credits than these.
_MOST_MS, _MOST_CREDITS = 10**12, 10**9
#: Runs that are billed by workflow run; the server shows no credits of other tasks.
_HAS_WORKFLOW_RUN = re.compile("wr_|tsk_v2_")


#: What an answer reports of a run, as `api_client.answers.parts.RunFigures` has it.
Figures = tuple[
    float | None, float | None, int | None, int | None, int | None, str | None, str | None
]


class Usage(NamedTuple):
    """What the runs of a job, a batch, a group or an account took; None = not known of any.

    Args:
        steps: steps.
        credits: credits, those that are estimated included.
        cached_credits: credits of cached actions.
        credits_estimated: how many of the credits are steps times the credits per step.
    """

    steps: int | None = None
    credits: int | None = None
    cached_credits: int | None = None
    credits_estimated: int | None = None

    def words(self, price_per_credit: Decimal | None = None) -> str:
        """Return it in words; '' = nothing is known."""
        said = [] if self.steps is None else [f"{self.steps:,} steps"]
        if self.credits is not None:
            parts = (("cached", self.cached_credits), ("estimated", self.credits_estimated))
            some = ", ".join(f"{n:,} {word}" for word, n in parts if n)
            said.append(f"{self.credits:,} credits{some and f' ({some})'}")
        if cost := cost_of(self.credits, price_per_credit):
            said.append(f"cost {cost}")
        return ", ".join(said)


def cost_of(credits_used: int | None, price_per_credit: Decimal | None) -> str | None:
    """Return what credits cost, in the currency of the price; None = not known."""
    if credits_used is None or price_per_credit is None:
        return None
    return f"{credits_used * price_per_credit:,.2f}"


def price_of(text: str) -> Decimal | None:
    """Read the price of a credit; None = it is none."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    return value if value.is_finite() and value > 0 else None


def read_usage(raw: bytes | None) -> Usage:
    """Read the usage of a job's record."""
    parts = (raw or b":::").split(b":")
    return Usage(*(int(part) if part else None for part in parts))


def usage_of(counters: Mapping[str, bytes | int]) -> Usage:
    """Read the usage among the counters of an account or a batch."""
    values = (counters.get(name) for name in Usage._fields)
    return Usage(*(None if value is None else int(value) for value in values))


@dataclass(frozen=True, slots=True)
class FigureRules:
    """What of a run's figures is estimated, or read later.

    Args:
        credits_per_step: credits of a step of engine 1.0, of whose runs the server shows none;
            None = they are not known.
        details: whose credits and category are read from the list of workflow runs if the end does
            not say them: `failed` runs, `all` runs, or `never`.
    """

    credits_per_step: float | None = None
    details: str = "failed"

    def encode(self, run_id: str, state: str, figures: Figures) -> str:
        """Return a run's figures as the scripts read them (`run_figures.lua`); '' = none is known.

        Args:
            run_id, state: the run, and what the job is by its end.
            figures: seconds that it was queued, and ran, its steps, credits and cached credits, its
                failure's category and its workflow run; None = not reported.
        """
        queued, ran, steps, credits_used, cached_credits, category, workflow_run_id = figures
        details, is_estimated = "", False
        if _HAS_WORKFLOW_RUN.match(run_id):
            if workflow_run_id and (credits_used is not None or self._are_read(state, category)):
                details = workflow_run_id
        elif credits_used is None and steps is not None and self.credits_per_step is not None:
            # Rounded first: 3 * 0.1 is a little more than 0.3.
            found = math.ceil(round(steps * self.credits_per_step, 9))
            credits_used, is_estimated = min(found, _MOST_CREDITS - 1), True
        times = f"{_ms(queued)}:{_ms(ran)}:{'' if steps is None else steps}"
        more = (_text(credits_used), _text(cached_credits), "1" if is_estimated else "")
        further = (*more, category or "", details)
        if any(further):
            return f"{times}:{':'.join(further)}"
        return "" if times == "::" else times

    def _are_read(self, state: str, category: str | None) -> bool:
        if self.details == "failed":
            return state == "failed" and category is None
        return self.details == "all"


def _text(count: int | None) -> str:
    return "" if count is None else str(count)


def _ms(seconds: float | None) -> str:
    if seconds is None or not 0 <= seconds * 1000 < _MOST_MS:
        return ""
    return str(int(seconds * 1000))
