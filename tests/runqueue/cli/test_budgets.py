"""`runqueue budgets`: how many steps runs may take."""

import json
from pathlib import Path

import pytest

from tests.runqueue.cli.commanding import Desk, line, ready


def test_a_budget_is_set_shown_and_cleared(either: Desk) -> None:
    ready(either, *(line(str(n), group="acme") for n in range(5)))
    of_acme = ("--group", "acme")
    set_up = ("budgets", "set", *of_acme, "--steps", "20", "--per", "day", "--tz", "Europe/Berlin")
    assert either.run(*set_up).stdout == "group:acme: 20 steps a day (Europe/Berlin)\n"
    assert len(either.claim()) == 2

    rows = either.run("budgets", "list", "--json").stdout.splitlines()
    (shown,) = [json.loads(row) for row in rows]
    assert shown.pop("resets_at")
    assert shown.pop("next_check_at")
    assert shown == {
        "scope": "group:acme",
        "target": "group:acme",
        "steps": 20,
        "credits": None,
        "per": "day",
        "timezone": "Europe/Berlin",
        "strict": False,
        "expected": 10,
        "spent": 0,
        "estimated_runs": 0,
        "live": 2,
        "committed": 20.0,
        "mean": None,
        "left": 0.0,
    }
    assert either.json("status", "3")["waits_for"][0]["name"] == "group:acme"
    assert either.run("budgets", "clear", *of_acme).stdout == "group:acme has no budget now\n"
    assert len(either.claim()) == 3
    assert either.run("budgets", "clear", *of_acme).stdout == "group:acme had no budget\n"
    assert either.run("budgets", "list").stdout == "none\n"


@pytest.mark.parametrize(
    ("arguments", "scope"),
    [
        ((), "account"),
        (("--key", "customer:acme"), "key:customer:acme"),
        (("--key", "customer:*"), "key:customer:*"),
    ],
)
def test_a_budget_is_of_what_is_named(either: Desk, arguments: tuple[str, ...], scope: str) -> None:
    ready(either, line("1"))
    said = either.run("budgets", "set", "--steps", "5000", *arguments, "--strict").stdout
    assert said == f"{scope}: 5,000 steps in all, strict\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--steps", "0"), "steps: expected 1 to 1,000,000,000,000, got 0"),
        (("--steps", "9", "--per", "week"), "per: expected day, month, total, got 'week'"),
        (("--steps", "9", "--tz", "Mars/Base"), "zone: expected a time zone such as Europe/Berlin"),
        (("--steps", "9", "--tz", "Europe/Berlin"), "timezone: expected one only per day or month"),
        (("--steps", "9", "--expected", "0"), "expected: expected 1 or more, got 0"),
        (("--per", "day"), "steps: expected either steps or credits"),
        (("--steps", "9", "--credits", "9"), "steps: expected either steps or credits"),
        (("--credits", "0"), "credits: expected 1 to 1,000,000,000,000, got 0"),
        (("--credits", "9", "--strict"), "strict: expected a budget of steps: nothing at Skyvern"),
        (("--steps", "9", "--group", "Acme"), "scope: expected account, group:<group>"),
        (("--steps", "9", "--batch", "b1"), "got 'batch:b1'"),
        (("--steps", "9", "--key", "acme"), "got 'key:acme'"),
        (
            ("--steps", "9", "--group", "a", "--key", "a:b"),
            "give one of --group, --batch and --key",
        ),
    ],
)
def test_a_budget_that_makes_no_sense_is_refused(
    either: Desk, arguments: tuple[str, ...], words: str
) -> None:
    done = either.run("budgets", "set", *arguments)
    assert done.exit_code == (2 if words.startswith("give one") else 3)
    assert words in " ".join(done.output.replace("│", " ").split())


def test_a_file_with_a_job_without_max_steps_is_refused_under_a_strict_budget(
    either: Desk, tmp_path: Path
) -> None:
    ready(either, line("1"))
    either.run("budgets", "set", "--steps", "50", "--strict")
    (file := tmp_path / "jobs.jsonl").write_text(json.dumps(line("2")) + "\n")
    done = either.run("submit", str(file))
    assert done.exit_code == 3
    words = " ".join(done.output.split())
    assert "jobs.jsonl:1: body.max_steps: expected 50 at most" in words
    assert "the budget of account is strict" in words
