"""Tables: rows of CSV that become jobs, by names or by a template."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from runqueue import JobState
from runqueue.producer.listing import Filter
from runqueue.store.codec import read_request
from tests.runqueue.cli.commanding import Desk

TEMPLATE = {
    "custom_id": "{order}",
    "kind": "task",
    "body": {
        "prompt": 'Read the price of {name}; answer {{"price": 1}}.',
        "url": "{url}",
        "max_steps": "{steps}",
        "proxy_location": {"country": "{country}"},
    },
}
TABLE = "order,name,url,steps,country\n17,Tea,https://shop.test/17,10,\n18,,,,DE\n"


def write(desk: Desk, table: str | bytes, name: str = "jobs.csv") -> str:
    path = desk.folder / name
    path.write_bytes(table if isinstance(table, bytes) else table.encode())
    return str(path)


def submitted(desk: Desk, *arguments: str) -> list[dict[str, Any]]:
    """Hand in a table; returns its jobs, as they are claimed."""
    assert desk.run("submit", *arguments).exit_code == 0
    found = []
    for claimed in desk.claim():
        job = desk.queue.get(claimed.job_id)
        kind, body = read_request(claimed.stored)
        priority = job.priority.name.lower()
        found.append({"custom_id": job.custom_id, "kind": kind, "priority": priority, "body": body})
    return found


def refused(desk: Desk, *arguments: str) -> str:
    """Hand in a table that is not accepted; returns what is said."""
    result = desk.run("submit", *arguments)
    assert result.exit_code == 3, result.output
    assert desk.states() == {}
    return result.stderr


def test_metadata_comes_from_columns_named_by_its_entries(desk: Desk) -> None:
    file = write(desk, "custom_id,body.prompt,metadata.order,metadata.page\na,Read.,17,\n")
    assert desk.run("submit", file).exit_code == 0
    (claimed,) = desk.claim()
    assert desk.queue.get(claimed.job_id).metadata == {"order": "17"}


def test_columns_with_the_names_of_fields_need_no_map(desk: Desk) -> None:
    file = write(
        desk,
        "custom_id,kind,priority,body.prompt,body.max_steps,body.publish_workflow,body.workflow_id\n"
        "a,task,high,TopView.,3,TRUE,\n"
        "b,workflow,,,,,wpid_1\n",
    )

    assert submitted(desk, file) == [
        {
            "custom_id": "a",
            "kind": "task",
            "priority": "high",
            "body": {"prompt": "TopView.", "max_steps": 3, "publish_workflow": True},
        },
        {
            "custom_id": "b",
            "kind": "workflow",
            "priority": "normal",
            "body": {"workflow_id": "wpid_1"},
        },
    ]


def test_a_template_is_filled_from_the_cells(desk: Desk) -> None:
    (desk.folder / "line.json").write_text(json.dumps(TEMPLATE))
    file = write(desk, TABLE)

    found = submitted(desk, file, "--template", str(desk.folder / "line.json"))

    assert [job["custom_id"] for job in found] == ["17", "18"]
    assert found[0]["body"] == {
        "prompt": 'Read the price of Tea; answer {"price": 1}.',
        "url": "https://shop.test/17",
        "max_steps": 10,
    }
    assert found[1]["body"] == {
        "prompt": 'Read the price of ; answer {"price": 1}.',
        "proxy_location": {"country": "DE"},
    }


def test_a_template_names_keys(desk: Desk) -> None:
    body = {"workflow_id": "wpid_1"}
    template = {"custom_id": "a", "kind": "workflow", "body": body, "keys": ["login:{login}"]}
    file = write(desk, "login\nacme\n")
    assert desk.run("submit", file, "--template", json.dumps(template)).exit_code == 0
    (job,) = desk.queue.list_jobs(Filter(state=JobState.READY)).jobs
    assert job.keys == ("login:acme",)


def test_a_template_may_stand_in_the_command(desk: Desk) -> None:
    body = {"workflow_id": "w", "parameters": {"n": "{n:json}", "t": "{n}"}}
    template = json.dumps({"kind": "workflow", "body": body})

    (job,) = submitted(desk, write(desk, "n\n18\n"), "--template", template)

    assert job["body"]["parameters"] == {"n": 18, "t": "18"}


@pytest.mark.parametrize(
    ("cell", "field", "value"),
    [
        ("10", "body.max_steps", 10),
        ("10.0", "body.max_steps", 10),
        ("10", "body.title", "10"),
        ("true", "body.publish_workflow", True),
        ('"{""X-A"": ""b""}"', "body.extra_http_headers", {"X-A": "b"}),
        ("RESIDENTIAL", "body.proxy_location", "RESIDENTIAL"),
        ('"{""country"": ""DE""}"', "body.proxy_location", {"country": "DE"}),
        ("10", "body.engine", "10"),
    ],
)
def test_a_cell_becomes_what_its_field_wants(
    desk: Desk, cell: str, field: str, value: object
) -> None:
    (job,) = submitted(desk, write(desk, f"body.prompt,{field}\nLook.,{cell}\n"))

    assert job["body"][field.removeprefix("body.")] == value


def test_priorities_and_times_are_numbers_where_they_can_be(desk: Desk) -> None:
    rows = 'body.prompt,priority,delay,retry\nLook.,1,90,"{""max_attempts"": 3}"\n'

    assert desk.run("submit", write(desk, rows)).exit_code == 0
    assert desk.states() == {"scheduled": 1}


def test_the_kind_of_rows_that_name_none_can_be_said(desk: Desk) -> None:
    file = write(desk, "body.workflow_id\nwpid_1\n")

    (job,) = submitted(desk, file, "--kind", "workflow")

    assert job["kind"] == "workflow"


@pytest.mark.parametrize(
    ("name", "options"), [("jobs.csv.gz", []), ("jobs.data", ["--format", "csv"])]
)
def test_a_packed_table_is_known_by_its_bytes(desk: Desk, name: str, options: list[str]) -> None:
    file = write(desk, gzip.compress(b"custom_id,body.prompt\na,TopView.\n"), name)

    assert [job["custom_id"] for job in submitted(desk, file, *options)] == ["a"]


def test_a_table_comes_from_stdin_too(desk: Desk) -> None:
    result = desk.run("submit", "-", "--format", "csv", stdin=b"body.prompt\nLook.\n")

    assert result.exit_code == 0
    assert desk.states() == {"ready": 1}


@pytest.mark.parametrize(
    ("name", "options", "between"),
    [("jobs.csv", ["-d", ";"], ";"), ("jobs.tsv", [], "\t"), ("jobs.csv", ["-d", "tab"], "\t")],
)
def test_cells_may_be_parted_by_something_else(
    desk: Desk, name: str, options: list[str], between: str
) -> None:
    file = write(desk, f"custom_id{between}body.prompt\na{between}TopView, please.\n", name)

    assert submitted(desk, file, *options)[0]["body"] == {"prompt": "TopView, please."}


def test_a_mark_of_utf_8_and_rows_of_empty_cells_are_no_faults(desk: Desk) -> None:
    file = write(desk, "\ufeffcustom_id,body.prompt\na,TopView.\n,\n\nb,TopView.\n")

    assert [job["custom_id"] for job in submitted(desk, file)] == ["a", "b"]


def test_a_fault_is_named_by_the_line_on_which_its_row_begins(desk: Desk) -> None:
    file = write(
        desk,
        'custom_id,body.prompt,body.max_steps\na,"two\nlines",3\nb,TopView.,many\nc,TopView.\nd,TopView.,1,2\n',
    )

    said = refused(desk, file)

    assert f"{file}:4: body.max_steps: expected a whole number from 1 to 100000" in said
    assert f"{file}:5: line: expected 3 cells, one a column, got 2" in said
    assert f"{file}:6: line: expected 3 cells, one a column, got 4" in said
    assert "3 bad lines" in said


def test_a_byte_that_is_no_utf_8_is_named_and_the_other_rows_are_checked(desk: Desk) -> None:
    rows = "custom_id,body.prompt\na,Prüfe.\nb,TopView.\nc,\n".encode("latin-1")

    said = refused(desk, write(desk, rows))

    assert ":2: line: expected UTF-8, got byte 0xfc in line 2" in said
    assert ":4: body.prompt: " in said


@pytest.mark.parametrize(
    ("table", "options", "said"),
    [
        ("a,b,a\n1,2,3\n", [], "1: line: column 'a' appears 2 times"),
        ("custom_id,body.promt\n", [], "did you mean 'prompt'?"),
        ("Url\nx\n", [], "column 'Url': unknown field 'Url' (a --template names"),
        ("body.url,body\n1,2\n", [], "column 'body': another column is 'body', or in it"),
        ("a\n1\n", ["--template", '{"custom_id": "{b}"}'], "template, custom_id: no column 'b'"),
        ("a\n1\n", ["--template", '{"custom_id": "{a.__class__}"}'], "no column 'a.__class__'"),
        ("a\n1\n", ["--template", '{"custom_id": "{a}}"}'], "a single '}'"),
        ("custom_id;body.prompt\n1;x\n", [], "did you mean --delimiter ';'?"),
        ('custom_id,body.prompt\na,"b\n', [], "2: line: expected CSV: a cell's quote opens here"),
        ('custom_id,body.prompt\na,"b"c\n', [], "2: line: expected CSV"),
        ("custom_id,body.prompt\n".encode("utf-16"), [], "1: line: expected UTF-8, got UTF-16"),
        (
            "a\nx\n",
            ["--template", '{"body": {"prompt": "p", "parameters": "{a:json}"}}'],
            "2: body.parameters: expected JSON in its cell",
        ),
    ],
)
def test_what_is_wrong_with_a_table_is_named(
    desk: Desk, table: str | bytes, options: list[str], said: str
) -> None:
    assert said in refused(desk, write(desk, table), *options)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("jobs.jsonl", ["--kind", "task"], "add --format csv"),
        ("jobs.csv", ["--template", "none.json"], "cannot read none.json"),
        ("jobs.csv", ["--template", "{oops"], "expected a line of JSON"),
        ("jobs.csv", ["--delimiter", "ab"], "expected one character"),
    ],
)
def test_options_that_do_not_fit_are_wrong_usage(
    desk: Desk, name: str, options: list[str], said: str
) -> None:
    result = desk.run("submit", write(desk, "a\n1\n", name), *options)

    assert result.exit_code == 2
    assert said in " ".join(result.stderr.replace("│", " ").split())


def test_a_number_that_is_too_long_for_json_s_readers_is_named(desk: Desk, tmp_path: Path) -> None:
    template = '{"kind": "workflow", "body": {"workflow_id": "w", "parameters": {"n": "{n:json}"}}}'
    file = write(desk, "n\n12345678901234567890123\n")

    assert "2: body.parameters.n: " in refused(desk, file, "--template", template)


def test_good_rows_are_submitted_although_others_are_bad_if_asked_for(desk: Desk) -> None:
    file = write(desk, "custom_id,body.prompt\na,TopView.\nb\nc,TopView.\n")

    report = desk.json("submit", file, "--skip-invalid")

    assert (report["new"], report["invalid_lines"]) == (2, 1)
    assert report["invalid"][0]["number"] == 3
