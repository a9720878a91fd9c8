"""The mix of the bench over 100,000 jobs: each answer is that of a plain list."""

import pytest

from archive.database import engine_of
from archive.reader import Reader
from bench.archive import searches, sums
from tests.archive.checking import Compared, ids_of
from tests.archive.many import COUNT, WRITTEN, fill_many, many_jobs

#: Jobs up to which all pages are read; of more of them, the first pages, and all are counted.
MOST_READ = 10_000


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_each_answer_of_a_large_archive_is_that_of_a_plain_list(
    archive_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("error_groups._SECONDS", "search._COUNT_SECONDS"):
        monkeypatch.setattr(f"archive.{limit}", 60)  # a machine may be busy
    await fill_many(archive_url)
    engine = engine_of(archive_url)
    reader = Reader(engine)
    compared = Compared(reader, many_jobs())
    for wanted, _ in searches(WRITTEN):
        found = [job.id for job in compared.expected(wanted)]
        ids = await ids_of(reader, wanted, most=MOST_READ)
        assert ids == found[: len(ids)], wanted
        assert len(ids) >= min(MOST_READ, len(found)), wanted
        if len(found) > MOST_READ:
            await compared.count(wanted, COUNT)
    for *_, call in sums(reader):
        _, *asked = call.args  # without the account
        await getattr(compared, call.func.__name__)(*asked)
    await engine.dispose()
