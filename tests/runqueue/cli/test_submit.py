"""`runqueue submit`: what is accepted, what is refused, and how both are told."""

import json
from pathlib import Path

import pytest

from runqueue import QueueUnavailable
from runqueue.request.job_spec import parse_line
from runqueue.store.job_calls import job_id_of
from tests.runqueue.cli.commanding import Desk, line, lines


def test_a_good_file_becomes_one_sealed_batch_named_like_the_file(desk: Desk) -> None:
    file = desk.file(lines(3))

    report = desk.json("submit", file)

    batch = desk.queue.get_batch(report["batches"]["default"])
    assert (batch.name, batch.total, batch.sealed) == ("jobs.jsonl", 3, True)
    assert (report["new"], report["known"]) == (3, 0)


def test_the_batch_is_named_on_stdout_for_people_too(desk: Desk) -> None:
    result = desk.run("submit", desk.file(lines(2)))

    assert result.exit_code == 0
    assert "batch " in result.stdout
    assert "2 jobs submitted" in result.stdout


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (
            line("b") | {"body": {"prompt": "x", "max_step": 3}},
            "body.max_step: unknown field, did you mean 'max_steps'?",
        ),
        (line("a", prompt="Something else."), "custom_id: 'a' names another job at line 1"),
        (line("b", account="nobody"), "account: unknown account 'nobody'"),
    ],
    ids=["field", "key of another body", "account"],
)
def test_a_bad_line_is_named_with_its_field_and_nothing_is_submitted(
    desk: Desk, bad: dict[str, object], words: str
) -> None:
    file = desk.file([line("a"), bad])

    result = desk.run("submit", file)

    assert result.exit_code == 3
    assert f"{file}:2: {words}" in result.stderr
    assert result.stdout == ""
    assert desk.states() == {}


def test_skip_invalid_hands_in_the_good_lines_and_still_names_the_bad(desk: Desk) -> None:
    file = desk.file([line("a"), "no json", line("c")])

    result = desk.run("submit", file, "--skip-invalid")

    assert result.exit_code == 0
    assert f"{file}:2: line: " in result.stderr
    assert desk.states() == {"ready": 2}


def test_a_byte_order_mark_and_blank_lines_are_no_faults(desk: Desk) -> None:
    file = desk.file(["\ufeff" + json.dumps(line("a")), "", "  ", line("b")])

    assert desk.json("submit", file)["new"] == 2


def test_line_numbers_count_blank_lines(desk: Desk) -> None:
    file = desk.file(["", line("a"), "", "oops"])

    assert f"{file}:4: " in desk.run("submit", file).stderr


def test_a_dash_reads_stdin(desk: Desk) -> None:
    result = desk.run("submit", "-", stdin=json.dumps(line("a")).encode())

    assert result.exit_code == 0
    assert desk.states() == {"ready": 1}
    assert desk.queue.list_batches().batches[0].name == ""


def test_the_same_line_twice_is_one_job(desk: Desk) -> None:
    report = desk.json("submit", desk.file([line("a"), line("b"), line("a")]))

    assert (report["jobs"], report["new"], report["repeated"]) == (2, 2, 1)


def test_lines_without_a_key_are_jobs_of_their_own(desk: Desk) -> None:
    assert desk.json("submit", desk.file([line(None), line(None)]))["new"] == 2


@pytest.mark.parametrize("n", [3, 2_500], ids=["one step", "more than one step takes"])
def test_a_file_submitted_again_makes_no_job_and_leaves_no_batch(desk: Desk, n: int) -> None:
    file = desk.file(lines(n))
    first = desk.json("submit", file)
    batch = first["batches"]["default"]
    assert (first["new"], desk.queue.get_batch(batch).total) == (n, n)

    again = desk.json("submit", file)

    assert (again["new"], again["known"], again["batches"]) == (0, n, {})
    assert again["known_in"][0]["batch"] == batch
    assert desk.states() == {"ready": n}
    assert desk.client.zcard("runqueue:{default}:batches") == 1


def test_only_what_is_new_in_a_longer_file_joins_the_new_batch(desk: Desk) -> None:
    desk.run("submit", desk.file(lines(3)))

    report = desk.json("submit", desk.file(lines(5)))

    assert (report["new"], report["known"]) == (2, 3)
    assert desk.queue.get_batch(report["batches"]["default"]).total == 2


@pytest.mark.parametrize("sent", [2, 4], ids=["half way", "just before its end"])
def test_an_upload_that_was_killed_is_made_whole_by_submitting_the_file_again(
    desk: Desk, sent: int
) -> None:
    file = desk.file(lines(4))
    desk.queue.enqueue_many(lines(4)[:sent], batch=desk.queue.open_batch(file))

    report = desk.json("submit", file)

    assert (report["new"], report["known"]) == (4, 0)
    assert len(desk.claim()) == 4


def test_a_key_used_earlier_for_another_body_is_a_conflict_of_that_line_alone(desk: Desk) -> None:
    desk.run("submit", desk.file([line("a")], "first.jsonl"))
    file = desk.file([line("a", prompt="Something else."), line("b")])

    result = desk.run("submit", file)

    assert result.exit_code == 3
    assert f"{file}:1: custom_id: a: names job " in result.stderr
    assert desk.states() == {"ready": 2}


def test_a_namespace_is_that_of_the_lines_that_name_none(desk: Desk) -> None:
    file = desk.file([line("a"), line("a", namespace="mine")])

    report = desk.json("submit", file, "--namespace", "theirs")

    assert report["new"] == 2
    for namespace in ("mine", "theirs"):
        spec = parse_line(line("a", namespace=namespace))
        assert desk.queue.get(job_id_of(spec)).namespace == namespace


def test_each_account_of_a_file_gets_a_batch_of_its_own(desk: Desk) -> None:
    desk.know("second")
    file = desk.file([line("a"), line("b", account="second")])

    report = desk.json("submit", file)

    assert sorted(report["batches"]) == ["default", "second"]
    assert desk.states("second") == {"ready": 1}


def test_a_file_is_checked_without_a_queue(desk: Desk) -> None:
    desk.environ["RUNQUEUE_REDIS_URL"] = "redis://127.0.0.1:1/0"

    good = desk.run("validate", desk.file(lines(2)))
    bad = desk.run("validate", desk.file(["oops"], "bad.jsonl"))

    assert (good.exit_code, bad.exit_code) == (0, 3)
    assert "2 jobs" in good.stdout


def test_a_queue_that_cannot_be_reached_is_said_without_its_password(desk: Desk) -> None:
    desk.environ["RUNQUEUE_REDIS_URL"] = "redis://:secret@127.0.0.1:1/0"

    result = desk.run("submit", desk.file(lines(1)))

    assert result.exit_code == 4
    assert "127.0.0.1:1" in result.stderr
    assert "secret" not in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.jsonl"], "cannot read missing.jsonl"),
        (["JOBS", "--results", "/no/such/folder/out.jsonl"], "cannot write results"),
        (["JOBS", "--namespace", "No Name"], "--namespace"),
        (["JOBS", "--no-such-option"], "--no-such-option"),
    ],
)
def test_wrong_usage_is_named_and_hands_in_nothing(
    desk: Desk, arguments: list[str], said: str
) -> None:
    file = desk.file(lines(1))

    result = desk.run("submit", *(file if part == "JOBS" else part for part in arguments))

    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())
    assert desk.states() == {}


def test_an_empty_file_is_no_fault_and_opens_no_batch(desk: Desk, tmp_path: Path) -> None:
    report = desk.json("submit", desk.file([]))

    assert (report["jobs"], report["batches"]) == (0, {})


def test_a_rerun_of_an_unfinished_upload_that_fails_too_releases_none_of_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = desk.file(lines(1_500))
    desk.queue.enqueue_many(lines(1_000), batch=desk.queue.open_batch(file))

    def fail(*_: object, **__: object) -> str:
        raise QueueUnavailable("redis://here", "gone")

    monkeypatch.setattr("runqueue.store.job_calls.open_batch", fail)
    assert desk.run("submit", file).exit_code == 4
    assert desk.claim() == []
