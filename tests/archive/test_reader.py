"""The archive's reader, on SQLite and on PostgreSQL: each answer is that of a plain list."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest
from sqlalchemy import text

from archive import search
from archive.database import engine_of, set_up, writing
from archive.reader import Reader
from archive.rows import job_of
from archive.writer import Writer
from bench.archive import BEGUN, ENDED, fill
from bench.archived_jobs import ACCOUNT, made
from lab.postgres import Postgres
from runqueue.errors import InvalidRequest
from runqueue.producer.listing import Filter
from runqueue.store.history import history_of
from tests.archive.checking import Compared, ids_of
from tests.archive.plain import Plain, expected, plain

JOBS = 1_500
DAY = timedelta(days=1)
Write = Any


@cache
def all_jobs() -> list[Plain]:
    """What is in the archive."""
    return [plain(made(n, JOBS)) for n in range(JOBS)]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def full_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of an archive of 1,500 jobs."""
    url = f"sqlite:///{tmp_path_factory.mktemp('archive')}/full.sqlite"
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres_server")
        url = server.create("full")
    asyncio.run(fill(url, JOBS))
    return url


@pytest.fixture
async def reader(full_url: str) -> AsyncIterator[Reader]:
    """Reads the archive of 1,500 jobs."""
    engine = engine_of(full_url)
    yield Reader(engine)
    await engine.dispose()


@pytest.fixture
async def empty(archive_url: str) -> AsyncIterator[tuple[Reader, Writer]]:
    """An archive of one's own, without jobs."""
    engine = engine_of(archive_url)
    await set_up(engine)
    yield Reader(engine), Writer(engine)
    await engine.dispose()


def some_filters() -> Iterator[Filter]:
    """Filters of all kinds, put together by chance."""
    chance = random.Random(7)
    jobs = all_jobs()
    for _ in range(40):
        job = chance.choice(jobs)
        word = chance.choice(sorted(job.words.split()))
        since = job.ended - chance.random() * 20 * DAY
        every: dict[str, Any] = {
            "state": job.state,
            "group": job.group,
            "batch": job.batch,
            "workflow": job.workflow,
            "error": job.error,
            "text": word if chance.random() < 0.4 else word[: chance.randrange(1, 5)],
            "metadata": {"order": job.metadata["order"]} if chance.random() < 0.3 else (),
            "custom_id": job.custom_id if chance.random() < 0.2 else None,
            "reason": job.reason[3:14].upper() or None,
            "webhook": "abandoned" if job.webhook == "abandoned" else None,
            "since": since,
            "until": since + chance.random() * 30 * DAY,
        }
        names = chance.sample(sorted(every), chance.randrange(2, 4))
        yield Filter(**{name: every[name] for name in names})


async def test_what_is_found_is_what_a_plain_list_has(reader: Reader) -> None:
    for wanted in some_filters():
        found = [job.id for job in expected(all_jobs(), ACCOUNT, wanted)]
        assert await ids_of(reader, wanted) == found, wanted
        counted = await reader.count(ACCOUNT, wanted, 50)
        assert counted == (min(50, len(found)), len(found) < 50), wanted


async def test_what_cannot_be_in_an_archive_is_not_found(reader: Reader) -> None:
    for wanted in (Filter(state="running"), Filter(is_open=True), Filter(is_paused=True)):
        assert await ids_of(reader, wanted) == []
    assert (await reader.find("other", Filter())).jobs == []
    assert await reader.count("other", Filter()) == (0, True)


async def test_pages_have_each_job_once_however_small_they_are(reader: Reader) -> None:
    for wanted in (Filter(state="dead"), Filter(text="captcha"), Filter(reason="model")):
        found = [job.id for job in expected(all_jobs(), ACCOUNT, wanted)]
        assert await ids_of(reader, wanted, 3) == found
        assert len(found) > 3


async def test_a_page_that_takes_too_long_is_given_as_it_is(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archive.reader._SECONDS", 0)
    wanted = Filter(group="g5", text="register")
    page = await reader.find(ACCOUNT, wanted)
    assert page.cursor
    assert await ids_of(reader, wanted) == [job.id for job in expected(all_jobs(), ACCOUNT, wanted)]
    monkeypatch.setattr(search, "_COUNT_SECONDS", 0)
    assert not (await reader.count(ACCOUNT, Filter(text="register"))).is_exact


async def test_pages_are_exact_while_jobs_are_added(empty: tuple[Reader, Writer]) -> None:
    reader, writer = empty
    assert (await reader.find(ACCOUNT, Filter())).jobs == []
    assert (await reader.errors(ACCOUNT, Filter())).groups == []
    await writer.write([made(n, JOBS) for n in range(40)])
    page = await reader.find(ACCOUNT, Filter(), limit=15)
    found = [job.id for job in page.jobs]
    for more in range(1, 10):
        await writer.write([made(39 + more, JOBS)])
        page = await reader.find(ACCOUNT, Filter(), page.cursor, 5)
        found += [job.id for job in page.jobs]
        if not page.cursor:
            break
    jobs = [plain(made(n, JOBS)) for n in range(40)]
    assert found == [job.id for job in expected(jobs, ACCOUNT, Filter())]


async def test_a_job_that_was_created_anew_under_its_id_is_another_however_often_it_is_written(
    empty: tuple[Reader, Writer],
) -> None:
    reader, writer = empty
    first = next(job for n in range(99) if (job := made(n, 99)).record["state"] == b"failed")
    again = {"created": b"%d" % (int(first.record["created"]) + 9), "state": b"completed"}
    second = first._replace(record={**first.record, **again})
    for job in (first, second, second, first):
        await writer.write([job])
    assert await reader.count(ACCOUNT, Filter()) == (2, True)
    ended = datetime.fromtimestamp(int(first.record["ended"]) / 1e6, UTC)
    points = (await reader.chart(ACCOUNT, ended - DAY, ended + DAY)).points
    jobs = [point.jobs for point in points if point.jobs]
    assert jobs == [{"completed": 1, "failed": 1}]


async def test_a_role_that_may_only_write_archives_jobs(postgres_server: Postgres) -> None:
    url = postgres_server.create("granted")
    owner = engine_of(url)
    await set_up(owner)
    async with writing(owner) as connection:
        for statement in (
            "CREATE ROLE archivist LOGIN",
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO archivist",
        ):
            await connection.execute(text(statement))
    engine = engine_of(url.replace("postgres@", "archivist@"))
    await set_up(engine)
    assert await Writer(engine).write([made(n, JOBS) for n in range(40)]) == []
    wanted = Filter(text=plain(made(1, JOBS)).words.split()[0])
    jobs = [plain(made(n, JOBS)) for n in range(40)]
    assert await ids_of(Reader(engine), wanted) == [
        job.id for job in expected(jobs, ACCOUNT, wanted)
    ]
    await engine.dispose()
    await owner.dispose()


async def test_the_order_of_columns_does_not_matter(
    empty: tuple[Reader, Writer], archive_url: str
) -> None:
    reader, writer = empty
    engine = engine_of(archive_url)
    async with writing(engine) as connection:
        kind = "BLOB" if archive_url.startswith("sqlite") else "BYTEA"
        await connection.execute(text("ALTER TABLE documents DROP COLUMN record"))
        await connection.execute(text(f"ALTER TABLE documents ADD COLUMN record {kind}"))
    await engine.dispose()
    job = made(17, JOBS)
    assert await writer.write([job]) == []
    assert await reader.get_many([job.id]) == [job_of(*job[:5])]


async def test_a_job_is_read_as_it_was(reader: Reader) -> None:
    for n in (1, 17, 500):
        ended = made(n, JOBS)
        (read,) = await reader.get_many([ended.id])
        assert read == job_of(ended.account, ended.id, ended.record, ended.body, ended.result)
        told = await reader.timeline(ended.account, ended.id)
        assert told == history_of(dict(ended.record), ended.body)
    first, second = made(1, JOBS).id, made(2, JOBS).id
    read_many = await reader.get_many([second, "x\0", first, second, "\ud800"])
    assert [job and job.id for job in read_many] == [second, None, first, second, None]
    without = await reader.get_many([second, "x\0", first], result=False)
    assert without == [job and replace(job, result=None) for job in read_many[:3]]
    assert await reader.timeline("other", first) is None
    assert await reader.timeline(ACCOUNT, "nobody") is None


async def test_a_record_that_cannot_be_read_is_named_on_one_page(
    empty: tuple[Reader, Writer],
) -> None:
    reader, writer = empty
    await writer.write([made(n, JOBS) for n in range(1, 6)])
    newest_first = [job.id for job in (await reader.find(ACCOUNT, Filter())).jobs]
    bad = newest_first[1]
    broken = text(
        "UPDATE documents SET record = :bad WHERE n = (SELECT n FROM jobs WHERE id = :id)"
    )
    async with writing(reader._engine) as connection:
        await connection.execute(broken, {"bad": b"no", "id": bad})
    pages = [await reader.find(ACCOUNT, Filter(), limit=1)]
    while cursor := pages[-1].cursor:
        pages.append(await reader.find(ACCOUNT, Filter(), cursor, limit=1))
    newest_first.remove(bad)
    assert [job.id for page in pages for job in page.jobs] == newest_first
    assert [one for page in pages for one in page.unread] == [bad]


async def test_a_record_that_cannot_be_read_is_named(empty: tuple[Reader, Writer]) -> None:
    reader, writer = empty
    good, bad = made(1, JOBS), made(2, JOBS)
    await writer.write([good, bad])
    async with writing(reader._engine) as connection:
        await connection.execute(text("UPDATE documents SET record = :bad"), {"bad": b"no"})
    page = await reader.find(ACCOUNT, Filter())
    assert (page.jobs, set(page.unread)) == ([], {good.id, bad.id})
    assert await reader.get_many([good.id]) == [None]
    assert await reader.timeline(good.account, good.id) is None


HOSTILE = (
    *("'", '"', "a'b", 'a"b', "'; DROP TABLE jobs; --", "a* OR b", "NEAR(a b)", "word_index: x"),
    *(
        "a AND NOT b",
        "(",
        ")",
        "a:*",
        "a & b | !c <-> d",
        "a\0b",
        "%",
        "_",
        "a%",
        "a_b",
        "\\",
        "a\\",
    ),
    *(
        "😀",
        "😀 a",
        "a😀b",
        "\ud800",
        "a\ud800",
        "e\u0301 É ß ﬁ ½ ª",
        "日本",
        "\u0627",
        "\U0001d538",
        "-a",
        "^a",
        "{a}",
    ),
    *("x" * 500, "a " * 8, "\n\t\r a", "İ", "\u200ba"),
)


@pytest.mark.parametrize("given", HOSTILE)
async def test_no_text_is_more_than_words(empty: tuple[Reader, Writer], given: str) -> None:
    reader, writer = empty
    body = b'{"k":"t"}\n{"prompt":"caf\xc3\xa9 a b drop table jobs strasse"}'
    ended = made(1, JOBS)._replace(body=body)
    await writer.write([ended])
    for field in ("text", "group", "batch", "workflow", "reason", "custom_id"):
        try:
            wanted = Filter(**{field: given}).checked()  # type: ignore[arg-type]
        except InvalidRequest as error:
            refused = {one.field for one in error.errors}
            assert refused == {field}
            continue
        found = [job.id for job in expected([plain(ended)], ACCOUNT, wanted)]
        assert await ids_of(reader, wanted) == found, field
        await reader.count(ACCOUNT, wanted)
    with pytest.raises(InvalidRequest):
        await reader.find(ACCOUNT, Filter(), given)
    assert await reader.count(ACCOUNT, Filter()) == (1, True)


async def test_ten_thousand_words_are_refused(reader: Reader) -> None:
    for given in ("word " * 10_000, "a b c d e f g h i"):
        with pytest.raises(InvalidRequest, match="text"):
            await reader.find(ACCOUNT, Filter(text=given))


@pytest.mark.parametrize(
    "cursor", ["0", "archive-", "archive--1", "archive-1 ", "archive-9223372036854775808", "x-1"]
)
async def test_a_cursor_that_is_none_is_refused(reader: Reader, cursor: str) -> None:
    with pytest.raises(InvalidRequest, match="cursor"):
        await reader.find(ACCOUNT, Filter(), cursor)


async def test_limits_are_checked(reader: Reader) -> None:
    for limit in (0, 1001):
        with pytest.raises(InvalidRequest, match="limit"):
            await reader.find(ACCOUNT, Filter(), limit=limit)
        with pytest.raises(InvalidRequest, match="limit"):
            await reader.errors(ACCOUNT, Filter(), limit)
    with pytest.raises(InvalidRequest, match="most"):
        await reader.count(ACCOUNT, Filter(), 0)
    for field, wanted in (("reason", Filter(reason="x")), ("webhook", Filter(webhook="unknown"))):
        with pytest.raises(InvalidRequest, match=field):
            await reader.errors(ACCOUNT, wanted)


# Groups of errors.


@pytest.mark.parametrize(
    "wanted",
    [
        Filter(),
        Filter(since=ENDED - DAY),
        Filter(group="g2", since=BEGUN + 10 * DAY, until=BEGUN + 40 * DAY),
        Filter(workflow="wpid_1"),
        Filter(text="captcha"),
        Filter(state="dead"),
        Filter(metadata={"env": "prod"}, group="g0"),
    ],
)
async def test_groups_of_errors_are_those_of_a_plain_list(reader: Reader, wanted: Filter) -> None:
    read = await Compared(reader, all_jobs()).errors(wanted)
    assert [one.id for one in (await reader.errors(ACCOUNT, wanted, 1)).groups] == [
        one.id for one in read.groups[:1]
    ]


async def test_the_newest_failures_are_read_and_said_to_be_no_more(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archive.error_groups.MOST_FAILURES", 50)
    read = await reader.errors(ACCOUNT, Filter())
    newest = [job for job in expected(all_jobs(), ACCOUNT, Filter()) if job.error is not None][:50]
    assert (read.failures, read.is_all) == (50, False)
    sizes = Counter(job.error for job in newest)
    assert {int(one.id): one.jobs for one in read.groups} == sizes


# Charts.


@pytest.mark.parametrize(
    ("days", "dimension", "value", "seconds"),
    [
        (2, "", "", 3600),
        (4, "group", "g0", 3600),
        (30, "", "", 86_400),
        (60, "workflow", "wpid_0", 86_400),
        (200, "", "", 604_800),
        (200, "group", "nobody", 604_800),
    ],
)
async def test_a_chart_is_of_what_ended(
    reader: Reader, days: int, dimension: str, value: str, seconds: int
) -> None:
    since = BEGUN + 3 * DAY
    until = since + days * DAY
    chart = await Compared(reader, all_jobs()).chart(since, until, dimension, value)
    assert chart.seconds == seconds
    assert days * 86_400 / seconds <= len(chart.points) <= days * 86_400 / seconds + 2


async def test_a_batch_is_what_its_jobs_were(reader: Reader) -> None:
    jobs = expected(all_jobs(), ACCOUNT, Filter())
    for batch in {job.batch for job in jobs if job.batch}:
        own = [job for job in jobs if job.batch == batch]
        found = await reader.batch(ACCOUNT, batch)
        assert found is not None
        assert found.states == Counter(job.state for job in own)
        assert (found.total, found.archived, found.status) == (len(own), True, "completed")
        assert (found.credits or 0) == sum(job.credits for job in own)
        first = datetime.fromtimestamp(own[-1].created_us / 1e6, UTC)
        assert (found.created_at, found.finished_at) == (first, own[0].ended)
        assert await reader.batch("other", batch) is None
    assert await reader.batch(ACCOUNT, "nma3otfnxlrcktlsz4d7qmri") is None


async def test_top_compares_the_values_of_a_dimension(reader: Reader) -> None:
    since, until = BEGUN + DAY, BEGUN + 40 * DAY
    for dimension in ("group", "workflow", "batch"):
        await Compared(reader, all_jobs()).top(since, until, dimension)


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("until", (BEGUN, BEGUN)),
        ("since", (datetime(2030, 1, 1), ENDED)),  # noqa: DTZ001 - it has no zone
        ("since", (ENDED - 2000 * DAY, ENDED)),
        ("dimension", (BEGUN, ENDED, "state", "x")),
        ("value", (BEGUN, ENDED, "group")),
        ("value", (BEGUN, ENDED, "", "x")),
    ],
)
async def test_a_chart_of_nothing_is_refused(reader: Reader, field: str, given: Any) -> None:
    with pytest.raises(InvalidRequest, match=field):
        await reader.chart(ACCOUNT, *given)
