"""What a metric of the queue is: its name, what it measures, and how it reads an account.

Labels are bounded: never a job, a run or a URL; groups are the busiest ones and `other`, budgets
those of which most is spent.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from runqueue.observe.statistics import Figures
from runqueue.records.account import AccountStats
from runqueue.store.budgets import BudgetUse
from runqueue.store.groups import GroupCredits

Sample = tuple[tuple[str, ...], float]


class AccountSample(NamedTuple):
    """What is known of one account at a scrape."""

    account: str
    stats: AccountStats
    figures: Figures
    budgets: Sequence[BudgetUse] = ()
    groups: Sequence[GroupCredits] = ()


class Family(NamedTuple):
    """One metric.

    Args:
        name: without `runqueue_`, and a counter's without `_total`.
        text: what it measures.
        read: gives the values of its labels, without the account, and the number.
        labels: their names, without `account`.
    """

    name: str
    text: str
    read: Callable[[AccountSample], Iterable[Sample]]
    labels: tuple[str, ...] = ()


def one(
    read: Callable[[AccountSample], float | None],
) -> Callable[[AccountSample], Iterator[Sample]]:
    """Read a number that every account has one of; None = it has none now."""

    def samples(seen: AccountSample) -> Iterator[Sample]:
        value = read(seen)
        if value is not None:
            yield (), value

    return samples


def pairs(
    read: Callable[[AccountSample], Mapping[str, float]],
) -> Callable[[AccountSample], Iterator[Sample]]:
    return lambda seen: (((label,), value) for label, value in read(seen).items())
