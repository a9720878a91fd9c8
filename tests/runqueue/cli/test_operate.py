"""`runqueue dead`: what no run exists of is looked at, done again, or removed."""

import pytest

from runqueue.ids import job_id_for
from tests.runqueue.cli.commanding import BOTH_WAYS, NOTHING_CHOSEN, Desk, line, lines

#: What a server, or whoever speaks for it, may say.
HOSTILE = "[red]no[/red] \\[x] at line:100:5, \x1b[2J\x07 [/] end"


def times(desk: Desk, job_id: str) -> dict[str, str]:
    """When a dead job was submitted, and when it ended."""
    job = desk.queue.get(job_id)
    assert job.ended_at is not None
    return {"created_at": job.created_at.isoformat(), "ended_at": job.ended_at.isoformat()}


def test_dead_jobs_are_listed_oldest_first_with_the_server_s_words(either: Desk) -> None:
    first, second = either.dead([line("a")]), either.dead([line("b", group="shop")], "Too large")

    assert either.listed("dead") == [
        {
            "job_id": job_id,
            "custom_id": key,
            "account": "default",
            "namespace": "",
            "kind": "task",
            "group": group,
            "batch": None,
            "attempts": 1,
            "reason": reason,
            **times(either, job_id),
        }
        for job_id, key, group, reason in [
            (*first, "a", "default", "No such engine"),
            (*second, "b", "shop", "Too large"),
        ]
    ]


def test_the_list_is_readable_without_json(either: Desk) -> None:
    (job_id,) = either.dead([line("a")])

    head, row, *rest = either.run("dead", "list").stdout.splitlines()

    assert head.split() == ["job_id", "custom_id", "kind", "group", "attempts", "reason"]
    assert row.split() == [job_id, "a", "task", "default", "1", "No", "such", "engine"]
    assert rest == []


def test_an_empty_list_says_so(either: Desk) -> None:
    assert either.run("dead", "list").stdout == "none\n"
    assert either.listed("dead") == []


def test_a_list_is_cut_at_its_limit_and_says_how_to_see_more(either: Desk) -> None:
    either.dead(lines(60))

    assert len(either.listed("dead")) == 50
    assert len(either.listed("dead", "--limit", "60")) == 60
    result = either.run("dead", "list", "--limit", "7", "--json")
    assert len(result.stdout.splitlines()) == 7
    assert result.stderr == "… and more; --limit shows more than 7\n"


@pytest.mark.parametrize("limit", ["0", "-1", "many"])
def test_a_limit_that_is_none_is_wrong_usage(either: Desk, limit: str) -> None:
    assert either.run("dead", "list", "--limit", limit).exit_code == 2


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        (["--group", "shop"], "c"),
        (["--reason", "TOO large"], "b"),
        (["--reason", "o"], "abc"),
        (["--group", "shop", "--reason", "large"], ""),
        (["--account", "default"], "abc"),
        (["--account", "second"], ""),
        (["--batch", "nonsense"], ""),
    ],
    ids=str,
)
def test_filters_choose_what_is_listed(either: Desk, options: list[str], keys: str) -> None:
    either.know("second")
    either.dead([line("a")])
    either.dead([line("b")], "Too large")
    either.dead([line("c", group="shop")])

    assert {row["custom_id"] for row in either.listed("dead", *options)} == set(keys)


def test_jobs_of_one_batch_are_chosen_by_it(either: Desk) -> None:
    batch = either.json("submit", either.file(lines(2)))["batches"]["default"]
    either.dead([line("other")])

    assert {row["custom_id"] for row in either.listed("dead", "--batch", batch)} == {
        "order-0",
        "order-1",
    }


def test_named_jobs_are_replayed_without_a_question(either: Desk) -> None:
    first, second, _ = either.dead(lines(3))

    result = either.run("dead", "replay", first, second)

    assert (result.exit_code, result.stdout) == (0, "2 of 2: ready again\n")
    assert either.states() == {"ready": 2, "dead": 1}


@pytest.mark.parametrize("state", ["failed", "canceled"])
def test_a_named_job_that_failed_or_was_canceled_is_replayed_too(either: Desk, state: str) -> None:
    (answer,) = either.queue.enqueue_many([line("a")])
    either.end(either.claim(), state)

    either.run("dead", "replay", answer.job_id)

    assert either.states() == {"ready": 1}


@pytest.mark.parametrize(
    ("command", "question"),
    [("replay", "submit 3 jobs again?"), ("discard", "remove 3 jobs for good?")],
)
def test_a_filter_is_counted_before_anything_is_done(
    either: Desk, command: str, question: str
) -> None:
    either.dead(lines(3))

    result = either.run("dead", command, "--all", stdin=b"n\n")

    assert question in result.stderr
    assert result.exit_code == 2
    assert either.states() == {"dead": 3}


@pytest.mark.parametrize(
    ("command", "left"), [("replay", {"ready": 2, "dead": 1}), ("discard", {"dead": 1})]
)
@pytest.mark.parametrize("agreed", [["--yes"], []], ids=["yes given", "yes said"])
def test_what_a_filter_leaves_is_done_once_that_is_agreed(
    either: Desk, command: str, left: dict[str, int], agreed: list[str]
) -> None:
    either.dead([line("a", group="shop"), line("b", group="shop"), line("c")])

    result = either.run("dead", command, "--group", "shop", *agreed, stdin=b"y\n")

    assert result.exit_code == 0
    assert "2 of 2: " in result.stdout
    assert either.states() == left


@pytest.mark.parametrize(
    ("excepted", "left"),
    [
        (["--except", "a"], "a"),
        (["--except", "a", "--except", "b"], "a b"),
        (["--except-reason", "TOO LARGE"], "c"),
        (["--except", "b", "--except-reason", "large"], "b c"),
    ],
    ids=str,
)
@pytest.mark.parametrize("command", ["replay", "discard"])
def test_what_is_excepted_stays_dead(
    desk: Desk, command: str, excepted: list[str], left: str
) -> None:
    desk.dead([line("a"), line("b")])
    desk.dead([line("c")], "Too large")

    result = desk.run("dead", command, "--all", *excepted, "--yes")

    assert result.exit_code == 0
    assert {row["custom_id"] for row in desk.listed("dead")} == set(left.split())
    (note,) = desk.queue.audit()
    assert "except" in note.detail
    assert not result.stderr


def test_an_excepted_job_that_does_not_match_is_named(desk: Desk) -> None:
    _, other = desk.dead([line("a", group="shop"), line("b")])

    result = desk.run("dead", "discard", "--group", "shop", "--except", "b", "--yes")

    assert result.exit_code == 0
    assert f"--except {other}: it is not among the jobs that match" in result.stderr
    assert desk.states() == {"dead": 1}


def test_an_excepted_job_that_is_unknown_ends_the_command(either: Desk) -> None:
    either.dead([line("a")])

    unknown = either.run("dead", "replay", "--all", "--except", "typo", "--yes")
    alone = either.run("dead", "replay", "--except", "a", "--yes")
    named = either.run("dead", "replay", "a", "--except", "a")

    assert (unknown.exit_code, alone.exit_code, named.exit_code) == (3, 2, 2)
    assert "no job, batch or custom_id 'typo' on record" in unknown.stderr
    assert "name jobs, or choose some by filters" in alone.stderr
    assert "--except and --except-reason go with a filter" in named.stderr
    assert either.states() == {"dead": 1}


@pytest.mark.parametrize("state", ["failed", "canceled"])
def test_failed_and_canceled_jobs_are_replayed_by_filter_if_that_is_said(
    desk: Desk, state: str
) -> None:
    desk.queue.enqueue_many([line("a", group="shop"), line("b")])
    desk.end(desk.claim(), state)

    none = desk.run("dead", "replay", "--group", "shop", "--yes")
    done = desk.run("dead", "replay", "--state", state, "--group", "shop", "--yes")

    assert (none.exit_code, none.stdout) == (0, "none\n")
    assert "only dead jobs were searched; --state failed" in none.stderr
    assert done.stdout == "1 of 1: ready again\n"
    assert desk.states() == {"ready": 1, state: 1}
    (note,) = desk.queue.audit()
    assert f"{state}, group shop" in note.detail


def test_a_state_is_no_choice_of_jobs_by_itself(either: Desk) -> None:
    either.dead([line("a")])

    assert either.run("dead", "replay", "--state", "failed", "--yes").exit_code == 2
    assert either.run("dead", "replay", "--state", "ready", "--all", "--yes").exit_code == 2


def test_more_than_a_page_is_replayed_by_one_command(either: Desk) -> None:
    for _ in range(3):
        either.queue.enqueue_many([{"kind": "task", "body": {"prompt": "p"}}] * 400)
        either.refuse(either.claim())

    result = either.run("dead", "replay", "--reason", "engine", "--yes")

    assert result.stdout == "1,200 of 1,200: ready again\n"
    assert either.states() == {"ready": 1_200}


def test_named_jobs_are_discarded_after_a_question(either: Desk) -> None:
    (job_id,) = either.dead([line("a")])

    result = either.run("dead", "discard", job_id, stdin=b"y\n")

    assert (result.exit_code, "1 of 1: removed" in result.stdout) == (0, True)
    assert either.run("status", job_id).exit_code == 3


def test_only_dead_jobs_are_discarded(either: Desk) -> None:
    (answer,) = either.queue.enqueue_many([line("a")])

    result = either.run("dead", "discard", answer.job_id, "--yes")

    assert (result.exit_code, result.stdout) == (3, "0 of 1: removed\n")
    assert result.stderr == f"runqueue: {answer.job_id}: not dead, but ready\n"
    assert either.states() == {"ready": 1}


EACH_COMMAND = pytest.mark.parametrize(
    ("kind", "command"),
    [("dead", "replay"), ("dead", "discard"), ("unconfirmed", "resubmit"), ("unconfirmed", "fail")],
)


@EACH_COMMAND
@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ([], NOTHING_CHOSEN),
        (["--yes"], NOTHING_CHOSEN),
        (["some-job", "--all"], BOTH_WAYS),
        (["some-job", "--all", "--yes"], BOTH_WAYS),
        (["x", "--group", "g"], BOTH_WAYS),
        (["--all"], "--yes"),
    ],
    ids=str,
)
def test_nothing_is_done_without_a_choice_or_by_two_or_by_a_filter_that_nobody_confirms(
    either: Desk, kind: str, command: str, chosen: list[str], words: str
) -> None:
    either.bring(kind, lines(2))

    result = either.run(kind, command, *chosen)

    assert result.exit_code == 2
    assert words in result.stderr
    assert either.states() == {kind: 2}


@EACH_COMMAND
@pytest.mark.parametrize("unknown", ["nonsense", job_id_for("default", "", "unknown")])
@pytest.mark.parametrize("options", [[], ["--yes"]], ids=str)
def test_if_a_name_is_not_on_record_nothing_is_asked_or_done(
    either: Desk, kind: str, command: str, unknown: str, options: list[str]
) -> None:
    (job_id,) = either.bring(kind, [line("a")])

    result = either.run(kind, command, job_id, unknown, *options)

    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr == f"runqueue: no job, batch or custom_id {unknown!r} on record\n"
    assert either.states() == {kind: 1}


@pytest.mark.parametrize(
    "command", [["list"], ["replay", "--yes"], ["discard", "--yes"]], ids=" ".join
)
def test_an_account_that_nobody_knows_is_told(either: Desk, command: list[str]) -> None:
    result = either.run("dead", *command, "--account", "nobody")

    assert result.exit_code == 3
    assert "nobody" in result.stderr


@pytest.mark.parametrize("command", ["replay", "discard"])
def test_a_filter_that_leaves_nothing_asks_nothing(either: Desk, command: str) -> None:
    result = either.run("dead", command, "--group", "shop")

    assert result.exit_code == 0
    assert "?" not in result.stderr


def test_words_of_the_server_are_never_taken_for_markup(either: Desk) -> None:
    either.dead([line("a")], HOSTILE)
    either.environ["COLUMNS"] = "200"

    shown = either.run("dead", "list").stdout

    assert "[red]no[/red] \\[x]" in shown
    assert either.listed("dead")[0]["reason"] == HOSTILE


def test_words_of_the_server_are_never_taken_for_names_of_pictures(either: Desk) -> None:
    either.dead([line("a")], HOSTILE)
    either.environ["COLUMNS"] = "200"

    assert "at line:100:5" in either.run("dead", "list").stdout


def test_words_of_the_server_never_reach_the_terminal_s_control(either: Desk) -> None:
    either.dead([line("a")], HOSTILE)
    either.environ["COLUMNS"] = "200"

    shown = either.run("dead", "list").stdout

    assert all(character.isprintable() for character in shown.replace("\n", ""))


def test_a_job_s_id_is_shown_whole_however_long_its_custom_id_is(either: Desk) -> None:
    (job_id,) = either.dead([line("b" * 200)])

    assert job_id in either.run("dead", "list").stdout


@pytest.mark.parametrize("command", ["replay", "discard"])
def test_what_is_not_done_is_told_by_the_name_that_was_typed(either: Desk, command: str) -> None:
    either.queue.enqueue_many([line("a")])

    result = either.run("dead", command, "a", "--yes")

    assert result.exit_code == 3
    assert result.stderr.startswith("runqueue: a: ")
