"""The archive's tables.

A job's key is `n`: the time of its end, with what tells jobs of one microsecond apart (`key_of`).
So the newest jobs are those of the greatest keys, and a range of time is a range of keys. A job
that ends again gets another key; its old rows go in the same transaction. One that was created anew
under its id, when Redis had it no more, is another life with rows of its own.
"""

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    text,
)

#: Keys of one microsecond.
KEYS_A_MICROSECOND: Final = 1024
HOUR_US: Final = 3_600_000_000
KEYS_A_DAY: Final = 24 * HOUR_US * KEYS_A_MICROSECOND

metadata = MetaData()

#: In SQLite this makes the key the row's own number: no index of its own.
_KEY = BigInteger().with_variant(Integer(), "sqlite")


def key_of(ended_us: int, slot: int = 0) -> int:
    """Return a key of a job that ended then.

    Args:
        ended_us: microseconds since 1970.
        slot: 0 to 1023; 0 = the first key of that microsecond.
    """
    return ended_us * KEYS_A_MICROSECOND + slot


def ended_us(n: int) -> int:
    """Return when the job of a key ended, in microseconds since 1970."""
    return n // KEYS_A_MICROSECOND


#: One row: which archive this is.
archive = Table(
    "archive",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("created_us", BigInteger, nullable=False),
)

#: What jobs are found, listed and counted by.
jobs = Table(
    "jobs",
    metadata,
    Column("n", _KEY, primary_key=True, autoincrement=False),
    Column("id", String(40), nullable=False),
    Column("account", String(64), nullable=False),
    Column("state", String(12), nullable=False),
    Column("job_group", String(200), nullable=False),
    Column("batch", String(40)),
    Column("workflow", String(200)),
    #: The group of errors that it belongs to; NULL = it completed, or was canceled.
    Column("error", BigInteger),
    Column("created_us", BigInteger, nullable=False),
    #: When its last run was accepted; NULL = it had none.
    Column("started_us", BigInteger),
    Column("steps", BigInteger),
    Column("credits", BigInteger),
    Column("cached_credits", BigInteger),
    #: 0 = more could still come when its record was read: its webhook, what it cost.
    Column("is_final", SmallInteger, nullable=False),
    Index("jobs_by_id", "id", "created_us", unique=True),
    Index("jobs_by_account", "account", "n"),
    Index("jobs_by_state", "account", "state", "n"),
    Index("jobs_by_group", "account", "job_group", "n"),
    Index("jobs_by_workflow", "account", "workflow", "n"),
    Index("jobs_by_batch", "batch", "n"),
)
_FAILED: Final[Any] = dict.fromkeys(("sqlite_where", "postgresql_where"), jobs.c.error.is_not(None))
# Groups of errors are read from it alone, unless jobs are chosen by text or metadata.
Index(
    "jobs_by_error",
    *(jobs.c.account, jobs.c.n, jobs.c.error, jobs.c.state, jobs.c.job_group),
    *(jobs.c.workflow, jobs.c.batch, jobs.c.credits),
    **_FAILED,
)
Index("jobs_of_error", jobs.c.account, jobs.c.error, jobs.c.n, **_FAILED)

#: The jobs as Redis had them: reading one gives the same `Job`, and the same timeline.
documents = Table(
    "documents",
    metadata,
    Column("n", _KEY, primary_key=True, autoincrement=False),
    #: The fields of its record, as JSON: texts by name.
    Column("record", LargeBinary, nullable=False),
    #: Its envelope and its request, packed with its result; see `runqueue.store.compression`.
    Column("body", LargeBinary, nullable=False),
    #: The result of its last run, where it is not in `body`.
    Column("result", LargeBinary),
)

#: The words of prompt, URL, custom id and reason, each once, in lower case and without accents.
#: Databases index them; see `database.py`.
words = Table(
    "words",
    metadata,
    Column("n", _KEY, primary_key=True, autoincrement=False),
    Column("words", Text, nullable=False),
)

#: What a job is found by that has several values: its entries, as `metadata.<name>`.
labels = Table(
    "labels",
    metadata,
    Column("name", String(80), primary_key=True),
    Column("value", String(256), primary_key=True),
    Column("n", _KEY, primary_key=True, autoincrement=False),
    Index("labels_by_job", "n"),
    sqlite_with_rowid=False,
)

#: Groups of errors: failures with the same category and the same words, but for numbers, ids and
#: URLs. The id is a hash of the other columns.
errors = Table(
    "errors",
    metadata,
    Column("id", _KEY, primary_key=True, autoincrement=False),
    Column("account", String(64), nullable=False),
    Column("category", String(80), nullable=False),
    Column("words", Text, nullable=False),
    #: The end of its first job.
    Column("first_us", BigInteger, nullable=False),
)

#: Sums for charts, by the hour of the ends: `dimension` is '' (all), `group`, `workflow` or
#: `batch`, and `value` which of them. `measure` is a state (jobs), `steps`, `credits`,
#: `cached_credits`, or `waited:<bucket>` and `ran:<bucket>`: jobs, by powers of the square root of
#: two of the seconds from creation to the last run's start, and from there to the end.
sums = Table(
    "sums",
    metadata,
    Column("account", String(64), primary_key=True),
    Column("dimension", String(10), primary_key=True),
    Column("value", String(200), primary_key=True),
    #: Hours since 1970.
    Column("hour", BigInteger, primary_key=True, autoincrement=False),
    Column("measure", String(20), primary_key=True),
    Column("amount", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
#: What of the sums is no duration: all values of a dimension are compared by it.
IS_COUNT: Final = text("measure NOT LIKE '%:%'")
Index(
    "sums_by_hour",
    *(sums.c.account, sums.c.dimension, sums.c.hour, sums.c.value, sums.c.measure, sums.c.amount),
    sqlite_where=IS_COUNT,
    postgresql_where=IS_COUNT,
)
