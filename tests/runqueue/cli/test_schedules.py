"""`runqueue schedules`: applying a file, and what is done to one of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runqueue.records.schedule import FiringKind, FiringState
from tests.runqueue.cli.commanding import Desk

SECRET = "hunter2-in-a-template"
JOB = {"kind": "task", "body": {"prompt": f"Log in with {SECRET}.", "url": "https://shop.example"}}
NIGHTLY = '[schedules.nightly]\ncron = "0 2 * * *"\ntimezone = "Europe/Berlin"\n'
PROMPT = f'job = {{ kind = "task", body = {{ prompt = "Log in with {SECRET}." }} }}\n'
FILE = 'file = "lines.jsonl"\n'


@pytest.fixture
def toml(either: Desk, tmp_path: Path) -> Path:
    """A file of schedules: a job each night, and a file of jobs every hour."""
    assert either
    (tmp_path / "lines.jsonl").write_text(json.dumps(JOB) + "\n\n" + json.dumps(JOB) + "\n")
    path = tmp_path / "schedules.toml"
    path.write_text(f'{NIGHTLY}{PROMPT}[schedules.hourly]\nevery = "1h"\n{FILE}')
    return path


def applied(desk: Desk, path: Path, *options: str) -> str:
    """What applying a file says."""
    result = desk.run("schedules", "apply", str(path), *options, "--yes")
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_file_is_applied_after_its_changes_were_shown(either: Desk, toml: Path) -> None:
    asked = either.run("schedules", "apply", str(toml), stdin=b"y\n")
    assert asked.exit_code == 0, asked.output
    assert "+ hourly\n    every: 1h\n    file: 2 jobs (" in asked.stdout
    assert "+ nightly\n    cron: 0 2 * * *\n    timezone: Europe/Berlin\n" in asked.stdout
    assert "Apply: 2 created? [y/N]" in asked.stderr
    assert asked.stdout.endswith("applied: 2 created\n")

    assert applied(either, toml) == "2 schedules unchanged\n"
    toml.write_text(NIGHTLY.replace("0 2", "0 3") + PROMPT.replace("Log in", "Go"))
    said = applied(either, toml)
    assert "- hourly\n" in said
    assert "~ nightly\n    cron: 0 2 * * * → 0 3 * * *\n    job.body.prompt: changed\n" in said
    assert said.endswith("applied: 1 changed, 1 removed\n")
    assert [one["name"] for one in either.listed("schedules")] == ["nightly"]


@pytest.mark.parametrize("options", [("--dry-run",), ()])
def test_nothing_changes_in_a_dry_run_or_without_a_yes(
    either: Desk, toml: Path, options: tuple[str, ...]
) -> None:
    result = either.run("schedules", "apply", str(toml), *options, stdin=b"n\n")
    assert result.exit_code == (0 if options else 2)
    assert "+ hourly" in result.stdout
    assert either.listed("schedules") == []


def test_changes_are_printed_as_json(either: Desk, toml: Path) -> None:
    changes = either.json("schedules", "apply", str(toml), "--dry-run")["changes"]
    assert [(one["name"], one["change"]) for one in changes] == [
        ("hourly", "created"),
        ("nightly", "created"),
    ]


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("[schedules.a\n", ["expected TOML", "line 1"]),
        ("[schedules.a]\n", ["schedules.a.cron: required", "schedules.a.job: required"]),
        (
            NIGHTLY.replace("0 2", "0 25").replace("Berlin", "Bonn") + PROMPT,
            ["schedules.nightly.cron: expected minute", "schedules.nightly.timezone: expected"],
        ),
        (NIGHTLY + 'job = { kind = "task", body = {} }\n', ["schedules.nightly.job.body.prompt"]),
        (NIGHTLY + PROMPT + "overlaps = 1\n", ["schedules.nightly.overlaps: unknown field"]),
        (NIGHTLY + FILE, ["bad.jsonl: line 3: body.prompt", "bad.jsonl: line 4: line"]),
        (
            NIGHTLY + FILE + "overlaps = 1\n",
            ["nightly.overlaps: unknown", "bad.jsonl: line 3: body"],
        ),
        (NIGHTLY + 'file = "none.jsonl"\n', ["schedules.nightly.file: cannot read"]),
    ],
)
def test_every_fault_is_named_and_nothing_is_changed(
    either: Desk, toml: Path, text: str, faults: list[str]
) -> None:
    lines = [json.dumps(JOB), "", '{"kind": "task", "body": {"prompt": 17}}', "{"]
    toml.with_name("bad.jsonl").write_text("\n".join(lines) + "\n")
    applied(either, toml)
    toml.write_text(text.replace("lines.jsonl", "bad.jsonl"))

    result = either.run("schedules", "apply", str(toml), "--yes")

    assert (result.exit_code, result.stdout) == (3, "")
    words = " ".join(result.stderr.split())
    assert [fault for fault in faults if fault not in words] == [], words
    assert len(either.listed("schedules")) == 2


def test_a_template_is_never_shown(either: Desk, toml: Path) -> None:
    outputs = [applied(either, toml)]
    toml.write_text(NIGHTLY + PROMPT.replace("Log in", "Go"))
    outputs.append(applied(either, toml))
    shown = (("list", "--json"), ("show", "nightly"), ("show", "nightly", "--json"))
    outputs += (either.run("schedules", *arguments).output for arguments in shown)
    outputs += [repr(either.queue.list_schedules()), repr(either.queue.get_schedule("nightly"))]
    outputs += [either.run("schedules", "remove", "nightly", "--yes", "--json").output]
    assert not [one for one in outputs if SECRET in one]
    assert "body.prompt" in outputs[3]


def test_a_schedule_is_paused_resumed_and_removed(either: Desk, toml: Path) -> None:
    applied(either, toml)
    said = either.run("schedules", "pause", "nightly", "--reason", "the shop moves").stdout
    assert said == "schedule nightly: paused: the shop moves\n"
    assert either.json("schedules", "show", "nightly")["upcoming"] == []
    assert either.run("schedules", "resume", "nightly").stdout.startswith("schedule nightly: next:")
    assert len(either.json("schedules", "show", "nightly")["upcoming"]) == 5
    assert either.run("schedules", "remove", "nightly", stdin=b"y\n").exit_code == 0
    gone = either.run("schedules", "show", "nightly")
    assert (gone.exit_code, "no schedule 'nightly'" in gone.stderr) == (3, True)
    whats = [one.what for one in either.queue.audit()]
    assert whats == ["remove_schedule", "resume_schedule", "pause_schedule", "apply_schedules"]


def test_a_schedule_fires_by_hand_and_for_past_times(either: Desk, toml: Path) -> None:
    applied(either, toml)
    assert "1 firing to come first" in either.run("schedules", "run", "hourly").stdout
    past = ("--since", "2030-01-01", "--until", "2030-01-02")
    either.client.hset("{rq:default}:schedule:hourly", "mark", 0)
    assert either.run("schedules", "backfill", "hourly", *past).exit_code == 3
    nightly = ("--since", "2020-03-28", "--until", "2020-03-31")
    said = either.run("schedules", "backfill", "nightly", *nightly).stdout
    assert "3 firings to come first" in said
    firings = either.queue.get_schedule("nightly").firings
    assert [(one.kind, one.state) for one in firings] == [
        (FiringKind.BACKFILL, FiringState.WAITING)
    ] * 3
    shown = either.json("schedules", "show", "nightly")["firings"]
    assert [one["at"] for one in shown] == [
        "2020-03-30T00:00:00+00:00",
        "2020-03-29T01:00:00+00:00",
        "2020-03-28T01:00:00+00:00",
    ]
    listed = either.run("schedules", "list").stdout
    assert "waiting 2020-03-30T00:00Z" in listed
    gone = either.run("schedules", "remove", "nightly", "--yes").stdout
    assert "removed, with 3 waiting firings" in gone
