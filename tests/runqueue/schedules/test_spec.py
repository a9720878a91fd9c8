"""What users say of a schedule, and what is said of what cannot be accepted."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runqueue.errors import FieldError, InvalidRequest
from runqueue.records.schedule import CatchUp, Overlap, ScheduleSpec
from runqueue.request.time_range import from_microseconds
from runqueue.schedules.spec import from_json, read_file, read_spec, to_json

JOB = {"kind": "task", "body": {"prompt": "prices of {date}"}}
FILE = "2-" + "0123456789abcdef" * 2


def faults(fields: dict[str, Any], name: str = "nightly") -> dict[str, str]:
    with pytest.raises(InvalidRequest) as caught:
        read_spec(name, fields)
    assert len({error.field for error in caught.value.errors}) == len(caught.value.errors)
    return {error.field: error.message for error in caught.value.errors}


def test_a_file_of_schedules_says_when_and_what() -> None:
    found = read_file(
        """
        [schedules.nightly-prices]
        cron = "0 2 * * mon-fri"
        timezone = "Europe/Berlin"
        jitter = "10m"
        start = 2026-01-01T00:00:00+01:00
        end = "2027-01-01T00:00:00Z"
        overlap = "queue"
        catch_up = "all"
        pause_after = 3
        file = "prices.jsonl"

        [schedules.report]
        every = "6h"
        job = {kind = "task", body = {prompt = "a report"}}
        """,
        [],
    )
    nightly = ScheduleSpec(
        "nightly-prices",
        cron="0 2 * * mon-fri",
        timezone="Europe/Berlin",
        jitter_seconds=600,
        start=datetime(2025, 12, 31, 23, tzinfo=UTC),
        end=datetime(2027, 1, 1, tzinfo=UTC),
        overlap=Overlap.QUEUE,
        catch_up=CatchUp.ALL,
        pause_after=3,
    )
    job = {"kind": "task", "body": {"prompt": "a report"}}
    report = ScheduleSpec("report", every_seconds=21_600, job=job)
    assert found == [(nightly, "prices.jsonl"), (report, "")]


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("cron", "0 2 * *", "expected minute, hour, day of the month, month and day of the week"),
        ("cron", "0 0 2 * * *", "expected minute, hour"),
        ("cron", "60 2 * * *", "expected minute, hour"),
        ("cron", "0 0 30 2 *", "of a date that comes, got '0 0 30 2 *'"),
        ("cron", "@daily", "expected minute, hour"),
        ("cron", 5, "expected minute, hour"),
        ("every", "59s", "expected text such as 15m, 6h or 1d, at least 1m, got '59s'"),
        ("every", 900, "expected text such as 15m"),
        ("every", "1h30m", "expected text such as 15m"),
        ("timezone", "Europe/Berln", "expected a zone of the IANA database such as Europe/Berlin"),
        ("timezone", "right/Europe/Berlin", "expected a zone"),
        ("timezone", "localtime", "expected a zone"),
        ("timezone", "../etc/passwd", "expected a zone"),
        ("timezone", "Europe", "expected a zone"),
        ("jitter", "2d", "expected text such as 30s or 5m, at most 1d, got '2d'"),
        ("start", "2026-01-01", "expected a time with its zone"),
        ("start", "2026-01-01T00:00:00", "expected a time with its zone"),
        ("end", 5, "expected a time with its zone"),
        ("overlap", "replace", "expected skip, queue or cancel, got 'replace'"),
        ("catch_up", True, "expected none, last or all, got true"),
        ("pause_after", -1, "expected a whole number from 0 (never) to 100, got -1"),
        ("pause_after", True, "expected a whole number from 0 (never) to 100, got true"),
        ("job", "x", "expected a line of a batch file, got 'x'"),
        ("job", JOB | {"body": {"prompt": "x" * 65_536}}, "expected at most 65,536 characters"),
    ],
)
def test_what_cannot_be_accepted_is_named_with_what_is_expected(
    field: str, value: object, expected: str
) -> None:
    usual = {"job": JOB} | ({"every": "1h"} if field != "cron" else {})
    fields = {**usual, field: value}
    found = faults(fields)
    assert list(found) == [field]
    assert expected in found[field]


def test_all_faults_are_named_at_once() -> None:
    fields = {
        "cron": "x",
        "every": "1h",
        "time_zone": "UTC",
        "overlap": "x",
        "start": "2027-01-01T00:00:00Z",
        "end": "2026-01-01T00:00:00Z",
        "job": {"kind": "task", "body": {"prompt": 5}, "prioriti": "high", "account": "x"},
    }
    with pytest.raises(InvalidRequest) as caught:
        read_spec("Nightly prices", fields)
    assert [error.field for error in caught.value.errors] == [
        *("name", "time_zone", "cron", "overlap", "cron", "job.prioriti", "job.body.prompt"),
        *("job.account", "end"),
    ]
    assert "did you mean 'timezone'?" in str(caught.value)
    assert "expected either cron or every, got both" in str(caught.value)


def test_a_schedule_needs_a_time_and_a_job() -> None:
    assert faults({}) == {
        "cron": "required, expected either cron or every",
        "job": "required, expected either job or lines",
    }
    assert faults({"every": "1h", "lines": FILE, "job": JOB}) == {
        "job": "expected either job or lines, got both"
    }
    assert list(faults({"every": "1h", "lines": FILE[2:]})) == ["lines"]


def test_a_job_is_checked_with_its_placeholders_filled_in() -> None:
    long = {"kind": "task", "body": {"prompt": "x", "totp_identifier": "{date}"}}
    read_spec("nightly", {"every": "1h", "job": long})
    said = faults({"every": "1h", "job": {**JOB, "account": "other"}})
    assert said == {"job.account": "expected none: its jobs are of the schedule's account"}


def test_a_files_faults_name_the_schedules_that_they_are_in() -> None:
    errors: list[FieldError] = []
    found = read_file(
        """
        schedule = 1
        [schedules]
        a = 5
        [schedules.b]
        every = "1h"
        [schedules.c]
        every = "x"
        file = 7
        lines = "x"
        """,
        errors,
    )
    assert [error.field for error in errors] == [
        *("schedule", "schedules.a", "schedules.b.job", "schedules.c.lines"),
        *("schedules.c.every", "schedules.c.file"),
    ]
    assert [(spec.name, file) for spec, file in found] == [("b", ""), ("c", "")]
    assert "did you mean 'schedules'?" in str(errors[0])


@pytest.mark.parametrize("text", ["[schedules", "schedules = 5"])
def test_a_file_that_is_none_is_refused(text: str) -> None:
    errors: list[FieldError] = []
    assert read_file(text, errors) == []
    assert len(errors) == 1
    assert read_file("", errors[1:]) == []


TIMES = st.integers(0, 4_000_000_000_000_000).map(from_microseconds)
SPECS = st.builds(
    ScheduleSpec,
    st.just("s"),
    every_seconds=st.integers(60, 86_400 * 366),
    timezone=st.sampled_from(["UTC", "Europe/Berlin"]),
    jitter_seconds=st.integers(0, 86_400),
    start=st.none() | TIMES,
    overlap=st.sampled_from(Overlap),
    catch_up=st.sampled_from(CatchUp),
    pause_after=st.integers(0, 100),
    lines=st.integers(1, 200_000).map(lambda count: f"{count}-{FILE[2:]}"),
)


@given(SPECS)
def test_a_schedule_is_read_again_as_it_was_written(spec: ScheduleSpec) -> None:
    assert from_json("s", to_json(spec)) == spec
    assert read_spec("s", to_json(spec)) == spec


def test_a_job_and_a_cron_are_read_again_as_they_were_written() -> None:
    spec = read_spec("s", {"cron": "0 2 * * *", "job": JOB})
    assert to_json(spec) == {"cron": "0 2 * * *", "job": JOB}
    assert from_json("s", to_json(spec)) == spec
