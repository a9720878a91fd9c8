"""The page about enqueuing: its table, map, template and batch make the jobs that it says."""

from pathlib import Path

import pytest

from tests.docs.pages import examples
from tests.runqueue.cli.commanding import Desk
from tests.runqueue.conftest import desk as desk  # noqa: PLC0414 - the fixture

PAGE = (Path(__file__).parents[2] / "docs/enqueue.md").read_text()


def test_the_table_has_columns_that_are_fields(desk: Desk) -> None:
    (table,) = examples(PAGE, "csv")
    (desk.folder / "jobs.csv").write_text(table.code)

    assert desk.json("submit", str(desk.folder / "jobs.csv"))["new"] == 2
    assert [desk.queue.get(job.job_id).custom_id for job in desk.claim()] == [
        "price-17",
        "price-18",
    ]


def test_the_template_is_one(desk: Desk) -> None:
    (template,) = (one for one in examples(PAGE, "json") if "{order}" in one.code)
    (desk.folder / "line.json").write_text(template.code)
    (desk.folder / "jobs.csv").write_text("order,name,url,steps\n17,Tea,https://shop.test,3\n")

    found = desk.json(
        "validate", str(desk.folder / "jobs.csv"), "--template", str(desk.folder / "line.json")
    )

    assert (found["jobs"], found["invalid"]) == (1, [])


def test_the_batch_holds_its_jobs_and_a_second_one_knows_them(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (batch,) = (one for one in examples(PAGE, "python") if "open_batch" in one.code)
    monkeypatch.setenv("RUNQUEUE_REDIS_URL", desk.url)
    monkeypatch.chdir(desk.folder)
    for counts in (batch.prints, "Counter({'known': 10})\n"):
        exec(compile(batch.code, "enqueue.md", "exec"), {})
        assert capsys.readouterr().out == counts

    again, first = desk.queue.list_batches("default").batches
    assert (first.total, first.sealed, first.held) == (10, True, "canary")
    assert again.total == 0
