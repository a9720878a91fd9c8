"""Which jobs of the archive a filter means, and the ranges of keys in which they are read.

A search reads whole days, the newest first, as many at a time as it reads in good time: so no
statement reads much more than a page needs, however common a word is, and however few jobs fit.
"""

from collections.abc import Iterator
from time import monotonic
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from archive.database import has_words, keys_of_words
from archive.rows import clean, words_of
from archive.tables import KEYS_A_DAY, jobs, key_of, labels, words
from runqueue.ids import job_id_for
from runqueue.producer.listing import Filter, JobCount
from runqueue.request.time_range import in_microseconds

#: Days of one statement, at most. After one that took less than this, the next reads twice the
#: days; after one that took more than that, half of them.
_MOST_DAYS: Final = 64
_QUICK_SECONDS, _SLOW_SECONDS = 0.04, 0.16
#: Seconds after which jobs are no longer counted.
_COUNT_SECONDS: Final = 1.0
#: Jobs of two days with a word from which on it finds jobs worse than the columns do, and up to
#: which they are counted.
_COMMON, _COUNTED = 1000, 10_000
#: Words of a search: one of its own may become several without its accents.
_MOST_WORDS: Final = 16
#: Fields of a filter that stand in a column, and the columns.
COLUMNS: Final = {
    "state": jobs.c.state,
    "group": jobs.c.job_group,
    "batch": jobs.c.batch,
    "workflow": jobs.c.workflow,
    "error": jobs.c.error,
}


class KeyRange(NamedTuple):
    """The keys from `low` up to, but without, `high`."""

    low: int
    high: int


class JobSearch:
    """The jobs of an account that a filter means.

    Args:
        dialect: of the database.
        account: whose jobs.
        wanted: which of them, checked.
    """

    def __init__(self, dialect: str, account: str, wanted: Filter) -> None:
        self._dialect = dialect
        self.account, self.wanted = account, wanted
        self._words = words_of([wanted.text]).split()[:_MOST_WORDS]
        self._is_common = False
        self._id = None
        if wanted.custom_id is not None:
            self._id = job_id_for(account, wanted.namespace, wanted.custom_id)
        #: What no column tells: it is judged by the jobs themselves.
        self.judged = Filter(reason=wanted.reason, webhook=wanted.webhook)
        #: Whether no job of an archive can be meant.
        self.is_none = not wanted.is_of_ended or (wanted.text is not None and not self._words)

    @property
    def is_judged(self) -> bool:
        """Whether jobs have to be read to be judged."""
        return self.judged != Filter()

    def conditions(self, keys: KeyRange, *, is_by_key: bool = False) -> list[ColumnElement[bool]]:
        """Return what rows of `jobs` in a range of keys have to fulfil.

        Args:
            keys: the range.
            is_by_key: whether texts are compared so that no index of theirs is used: the rows are
                read by an index that has all that is asked for.
        """
        found = [jobs.c.account == self.account, jobs.c.n >= keys.low, jobs.c.n < keys.high]
        for name, column in COLUMNS.items():
            value = getattr(self.wanted, name)
            if isinstance(value, str):
                found.append((column.concat("") if is_by_key else column) == clean(value, 200))
            elif value is not None:
                found.append(column == value)
        if self._id is not None:
            found.append(jobs.c.id == self._id)
        for name, value in dict(self.wanted.metadata).items():
            having = _labeled(name, value).where(labels.c.n >= keys.low, labels.c.n < keys.high)
            found.append(jobs.c.n.in_(having))
        if self._words and self._is_common:
            row = select(has_words(self._words)).where(words.c.n == jobs.c.n)
            found.append(row.scalar_subquery())
        elif self._words:
            days = range((keys.high - 1) // KEYS_A_DAY, keys.low // KEYS_A_DAY - 1, -1)
            found.append(jobs.c.n.in_(keys_of_words(self._dialect, self._words, days)))
        return found

    async def range(self, connection: AsyncConnection, before: int | None = None) -> KeyRange:
        """Return the range of keys in which all of them are.

        Args:
            before: their keys are less; None = they may be any.
        """
        ends = [await connection.scalar(query) for query in self._ends()]
        low, high = (0, 0) if None in ends or self.is_none else (ends[0], ends[1] + 1)
        since, until = self.wanted.since, self.wanted.until
        if since is not None:
            low = max(low, key_of(in_microseconds(since)))
        if until is not None:
            high = min(high, key_of(in_microseconds(until)))
        keys = KeyRange(low, high if before is None else min(high, before))
        is_chosen = any(getattr(self.wanted, name) is not None for name in COLUMNS)
        if self._words and keys.high > keys.low and (is_chosen or len(self._words) > 1):
            rarest = await self._put_rarest_first(connection, keys)
            self._is_common = is_chosen and rarest > _COMMON
        return keys

    async def _put_rarest_first(self, connection: AsyncConnection, keys: KeyRange) -> int:
        """Have the index asked for the word that fewest jobs of the last two days have: so many."""
        last = (keys.high - 1) // KEYS_A_DAY
        counts: dict[str, int] = {}
        for word in self._words:
            some = keys_of_words(self._dialect, [word], [last, last - 1]).limit(_COUNTED).subquery()
            counts[word] = await connection.scalar(select(func.count()).select_from(some)) or 0
        self._words.sort(key=lambda word: (counts[word], -len(word)))
        return counts[self._words[0]]

    def _ends(self) -> list[Select[Any]]:
        """Return the queries of the first and the last key, by what an index finds most with."""
        n = jobs.c.n
        chosen = jobs.c.account == self.account
        if self._id is not None:
            chosen = jobs.c.id == self._id
        elif self.wanted.metadata:
            name, value = dict(self.wanted.metadata).popitem()
            n = labels.c.n
            return [_labeled(name, value, of(n)) for of in (func.min, func.max)]
        elif self.wanted.batch is not None:
            chosen = jobs.c.batch == clean(self.wanted.batch, 40)
        return [select(of(n)).where(chosen) for of in (func.min, func.max)]


def _labeled(name: str, value: str, what: Any = labels.c.n) -> Select[Any]:
    is_entry = labels.c.name == clean(f"metadata.{name}", 80)
    return select(what).where(is_entry, labels.c.value == clean(value, 256))


async def count(
    connection: AsyncConnection, search: JobSearch, keys: KeyRange, most: int
) -> JobCount:
    """Count jobs that need not be read, up to so many, or until it takes long."""
    found, begun = 0, monotonic()
    for part in days_of(keys):
        some = select(jobs.c.n).where(*search.conditions(part)).limit(most - found).subquery()
        found += int(await connection.scalar(select(func.count()).select_from(some)) or 0)
        if found >= most or monotonic() - begun > _COUNT_SECONDS:
            return JobCount(found, part.low == keys.low and found < most)
    return JobCount(found, True)


def days_of(keys: KeyRange) -> Iterator[KeyRange]:
    """Yield the days of a range of keys, the newest first; more at a time the less they take."""
    days, high = 1, keys.high
    while high > keys.low:
        low = max(keys.low, ((high - 1) // KEYS_A_DAY - days + 1) * KEYS_A_DAY)
        begun = monotonic()
        yield KeyRange(low, high)
        took, high = monotonic() - begun, low
        if took < _QUICK_SECONDS:
            days = min(_MOST_DAYS, 2 * days)
        elif took > _SLOW_SECONDS:
            days = max(1, days // 2)
