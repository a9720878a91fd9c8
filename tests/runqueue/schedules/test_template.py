"""The lines of a firing."""

from dataclasses import replace
from datetime import UTC, datetime

import orjson

from runqueue.records.schedule import Firing, ScheduleSpec
from runqueue.request.job_spec import parse_line
from runqueue.schedules.template import line_faults, lines_of, utc_form
from simulation.schedules.cron_walk import us

AT = us(datetime(2030, 1, 31, 11, 5, tzinfo=UTC))
SPEC = ScheduleSpec("nightly", cron="5 12 * * *", timezone="Europe/Berlin")


def test_placeholders_are_filled_in_all_texts_of_a_body_in_the_schedules_zone() -> None:
    body = {
        "prompt": "{date} {time} {datetime} {timestamp} {firing} {schedule}",
        "data_extraction_schema": {"{date}": ["{{date}, {other}, {", 5, None, {"a": "{date}"}]},
    }
    job = {"kind": "task", "body": body, "group": "shop"}
    [line] = lines_of(replace(SPEC, job=job), "main", [], Firing(AT))
    assert line == {
        "kind": "task",
        "group": "shop",
        "account": "main",
        "namespace": "schedule",
        "custom_id": "nightly/20300131T110500Z/1",
        "body": {
            "prompt": "2030-01-31 12:05 2030-01-31T12:05:00+01:00 1896087900"
            " 20300131T110500Z nightly",
            "data_extraction_schema": {
                "{date}": ["{date}, {other}, {", 5, None, {"a": "2030-01-31"}]
            },
        },
    }
    assert parse_line(line).custom_id == line["custom_id"]


def test_each_line_of_a_file_has_its_number() -> None:
    lines = [orjson.dumps({"kind": "task", "body": {"prompt": "{date}"}})] * 3
    found = list(lines_of(SPEC, "main", lines, Firing(AT + 1)))
    assert [line["custom_id"] for line in found] == [
        f"nightly/20300131T110500.000001Z/{number}" for number in (1, 2, 3)
    ]
    assert all(line["body"] == {"prompt": "2030-01-31"} for line in found)


def test_a_line_is_checked_as_it_is_and_as_it_will_be() -> None:
    assert line_faults(b'{"kind": "task", "body": {"prompt": "{date}"}}', SPEC) == []
    for line, field in (
        (b"{", "line"),
        (b"[" * 100_000, "line"),
        (b'{"kind": "task", "body": {}}', "body.prompt"),
        (b'{"kind": "task", "body": {"prompt": "x"}, "account": "b"}', "account"),
        (b'{"kind": "task", "body": {"prompt": "x"}, "namespace": "b"}', "namespace"),
        (b'{"kind": "task", "body": {"prompt": "x"}, "custom_id": "b"}', "custom_id"),
        (b'{"kind": "task", "body": {"prompt": "x", "url": "{schedule}"}}', "body.url"),
    ):
        assert [fault.field for fault in line_faults(line, SPEC)] == [field]
    grown = orjson.dumps({"kind": "task", "body": {"prompt": "{datetime}" * 100_000}})
    assert [fault.field for fault in line_faults(grown, SPEC)] == ["body"]


def test_a_time_is_named_to_the_microsecond_where_it_is_no_whole_second() -> None:
    assert utc_form(AT) == "20300131T110500Z"
    assert utc_form(AT + 50) == "20300131T110500.000050Z"
