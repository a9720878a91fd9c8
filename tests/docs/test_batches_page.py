"""The page about files of jobs: its table and its template make the jobs that it says."""

from pathlib import Path

from tests.docs.pages import examples
from tests.runqueue.cli.commanding import Desk
from tests.runqueue.conftest import desk as desk  # noqa: PLC0414 - the fixture

PAGE = (Path(__file__).parents[2] / "docs/batches.md").read_text()


def test_the_table_has_columns_that_are_fields(desk: Desk) -> None:
    (table,) = examples(PAGE, "csv")
    (desk.folder / "jobs.csv").write_text(table.code)

    assert desk.json("submit", str(desk.folder / "jobs.csv"))["new"] == 2
    assert [desk.queue.get(job.job_id).custom_id for job in desk.claim()] == [
        "price-17",
        "price-18",
    ]


def test_the_template_is_one(desk: Desk) -> None:
    (template,) = examples(PAGE, "json")
    (desk.folder / "line.json").write_text(template.code)
    (desk.folder / "jobs.csv").write_text("order,name,url,steps\n17,Tea,https://shop.test,3\n")

    found = desk.json(
        "validate",
        str(desk.folder / "jobs.csv"),
        "--template",
        str(desk.folder / "line.json"),
    )

    assert (found["jobs"], found["invalid"]) == (1, [])


def test_the_map_is_one(desk: Desk) -> None:
    (command,) = (one.code for one in examples(PAGE, "sh") if "--map" in one.code)
    maps = ["Order No=custom_id", "Url=body.url", "Task=body.prompt"]
    assert all(column in command.replace("'", "") for column in maps)
    (desk.folder / "orders.csv").write_text("Order No,Url,Task\n17,https://shop.test,Look.\n")
    options = [part for one in maps for part in ("--map", one)]

    assert desk.json("validate", str(desk.folder / "orders.csv"), *options)["jobs"] == 1
