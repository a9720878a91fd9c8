"""`runqueue webhooks retry` and `confirm`: webhooks are sent again, or done without."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.runqueue.cli.commanding import Desk, line, ready
from tests.runqueue.cli.delivering import (
    a_moment_ago,
    abandoned,
    delivered,
    ended_at,
    everywhere,
    relayed,
    stands,
    told,
    unknown,
    watched,
)

FILTERS = "filters (--group, --since and others) or --all"
Bring = Callable[..., list[str]]
NOT_TO_BE_TOLD = "its run has not ended, or it has no webhook"


def still(desk: Desk, made: dict[str, str]) -> dict[str, str]:
    """How the webhooks stand, but for those that are pending."""
    found = {key: stands(desk, job_id) for key, job_id in made.items()}
    return {key: state for key, state in found.items() if state != "pending"}


def test_named_webhooks_are_sent_again_without_a_question(either: Desk) -> None:
    first, second, third = abandoned(either, told("a"), told("b"), told("c"))

    result = either.run("webhooks", "retry", first, "b")

    assert (result.exit_code, result.stdout) == (0, "2 of 2: will be sent\n")
    found = either.queue.get(first).webhook
    assert (found.state, found.attempts, found.status, found.error) == ("pending", 0, None, None)
    assert (stands(either, second), stands(either, third)) == ("pending", "abandoned")


@pytest.mark.parametrize("bring", [relayed, watched, abandoned, unknown, delivered])
def test_a_named_webhook_is_sent_again_wherever_it_stands(either: Desk, bring: Bring) -> None:
    (job_id,) = bring(either, told("a"))

    result = either.run("webhooks", "retry", job_id)

    assert (result.exit_code, stands(either, job_id)) == (0, "pending")


def test_names_are_looked_up_in_their_namespace(either: Desk) -> None:
    mine, others = abandoned(either, told("a"), told("a", namespace="shop"))

    either.run("webhooks", "retry", "a", "--namespace", "shop")

    assert (stands(either, mine), stands(either, others)) == ("abandoned", "pending")


def test_if_a_name_is_not_on_record_nothing_is_done(either: Desk) -> None:
    (job_id,) = abandoned(either, told("a"))

    result = either.run("webhooks", "retry", job_id, "nonsense")

    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr == "runqueue: no job, batch or custom_id 'nonsense' on record\n"
    assert stands(either, job_id) == "abandoned"


def test_jobs_that_have_nothing_to_send_are_named(either: Desk) -> None:
    (quiet,) = relayed(either, line("quiet"))
    (waiting,) = ready(either, told("waiting"))
    (gone,) = abandoned(either, told("gone"))

    result = either.run("webhooks", "retry", quiet, waiting, gone)

    assert (result.exit_code, result.stdout) == (3, "1 of 3: will be sent\n")
    named = [f"runqueue: {job_id}: {NOT_TO_BE_TOLD}\n" for job_id in (quiet, waiting)]
    assert result.stderr == "".join(named)
    assert stands(either, gone) == "pending"


@pytest.mark.parametrize(
    ("options", "left"),
    [
        (["--all"], "told quiet"),
        (["--pending"], "told quiet gone hidden"),
        (["--group", "shop"], "told quiet hidden"),
        (["--account", "default"], "told quiet"),
        (["--since", "1h"], "told quiet"),
    ],
    ids=str,
)
def test_what_filters_leave_is_sent_again(either: Desk, options: list[str], left: str) -> None:
    made = everywhere(either)

    result = either.run("webhooks", "retry", *options, "--yes")

    assert result.exit_code == 0
    assert set(still(either, made)) == set(left.split())


def test_since_is_when_the_run_ended(either: Desk) -> None:
    before, after = abandoned(either, told("before"), told("after"))
    ended_at(either, [before], a_moment_ago(7200))
    ended_at(either, [after], a_moment_ago(1800))

    result = either.run("webhooks", "retry", "--since", a_moment_ago(3600).isoformat(), "--yes")

    assert result.stdout == "1 of 1: will be sent\n"
    assert (stands(either, before), stands(either, after)) == ("abandoned", "pending")


def test_pending_ones_are_due_at_once(either: Desk) -> None:
    (job_id,) = watched(either, told("a"))
    watches = "runqueue:{default}:watches"
    due = either.client.zscore(watches, job_id)

    either.run("webhooks", "retry", "--pending", "--yes")

    assert float(str(either.client.zscore(watches, job_id))) < float(str(due))


@pytest.mark.parametrize(
    ("options", "question"),
    [
        (["--abandoned"], "send 3 webhooks again? [y/N]"),
        (
            ["--all", "--webhook-url", "https://me:pa55@other.test/h?token=t0ken"],
            "send 3 webhooks again to https://other.test/h? [y/N]",
        ),
    ],
    ids=["there", "elsewhere"],
)
def test_a_filter_is_counted_before_anything_is_done(
    either: Desk, options: list[str], question: str
) -> None:
    ids = abandoned(either, told("a"), told("b"), told("c"))

    result = either.run("webhooks", "retry", *options, stdin=b"n\n")

    assert question in result.stderr
    assert result.exit_code == 2
    assert [stands(either, job_id) for job_id in ids] == ["abandoned"] * 3


def test_it_is_done_once_that_is_agreed(either: Desk) -> None:
    (job_id,) = abandoned(either, told("a"))

    result = either.run("webhooks", "retry", "--all", stdin=b"y\n")

    assert (result.exit_code, result.stdout) == (0, "1 of 1: will be sent\n")
    assert stands(either, job_id) == "pending"


def test_a_filter_that_leaves_nothing_asks_nothing(either: Desk) -> None:
    relayed(either, told("a"))

    result = either.run("webhooks", "retry", "--all")

    assert (result.exit_code, result.stdout, result.stderr) == (0, "none\n", "")


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ([], f"name jobs, or choose some by {FILTERS}"),
        (["--yes"], f"name jobs, or choose some by {FILTERS}"),
        (["--webhook-url", "https://other.test"], f"name jobs, or choose some by {FILTERS}"),
        (["a", "--all"], f"by name or by {FILTERS}, not by both"),
        (["a", "--abandoned"], f"by name or by {FILTERS}, not by both"),
        (["a", "--since", "60s"], f"by name or by {FILTERS}, not by both"),
        (["--all", "--namespace", "shop"], "--namespace"),
        (["--all"], "--yes"),
    ],
    ids=str,
)
def test_nothing_is_done_without_a_choice_or_by_two_or_by_a_filter_that_nobody_confirms(
    either: Desk, chosen: list[str], words: str
) -> None:
    (job_id,) = abandoned(either, told("a"))

    result = either.run("webhooks", "retry", *chosen)

    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr
    assert stands(either, job_id) == "abandoned"


def test_more_than_a_page_is_sent_again_by_one_command(either: Desk) -> None:
    abandoned(either, *[told(f"a{number}") for number in range(1_100)])

    result = either.run("webhooks", "retry", "--abandoned", "--yes")

    assert result.stdout == "1,100 of 1,100: will be sent\n"
    assert either.json("stats")["default"]["deliveries"]["pending"] == 1_100


def test_webhooks_are_sent_elsewhere_even_those_that_nobody_was_to_get(either: Desk) -> None:
    (quiet,) = relayed(either, line("quiet"))
    (gone,) = abandoned(either, told("gone"))

    result = either.run(
        "webhooks", "retry", quiet, gone, "--webhook-url", "https://other.test/h?a=1"
    )

    assert (result.exit_code, result.stdout) == (0, "2 of 2: will be sent\n")
    for job_id in (quiet, gone):
        assert either.queue.get(job_id).webhook.url == "https://other.test/h?a=1"


def test_where_no_run_ended_there_is_nothing_to_send_anywhere(either: Desk) -> None:
    (waiting,) = ready(either, told("waiting"))

    result = either.run("webhooks", "retry", waiting, "--webhook-url", "https://other.test")

    assert (result.exit_code, result.stdout) == (3, "0 of 1: will be sent\n")
    assert result.stderr == f"runqueue: {waiting}: no run of it has ended\n"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "other.test",
        "ftp://other.test",
        "https://",
        "https://a b",
        "https://a/\n",
        "http://\udcff",
        "https://me:pa55@other.test /h",
        "me:pa55@other.test/h",
        "https:/me:p?a#pa55@other.test",
        "ftp://other.test/h?token=pa55",
    ],
)
def test_a_wrong_url_is_refused_before_anything_is_done_and_shown_without_its_password(
    either: Desk, url: str
) -> None:
    (job_id,) = abandoned(either, told("a"))

    result = either.run("webhooks", "retry", job_id, "--webhook-url", url)

    assert (result.exit_code, result.stdout) == (2, "")
    words = " ".join(result.stderr.split())
    expected = "expected an http:// or https:// URL with a host and without spaces"
    assert f"'--webhook-url': {expected}, got {'' if 'pa55' in url else repr(url)}" in words
    assert "pa55" not in result.output
    assert stands(either, job_id) == "abandoned"


@pytest.mark.parametrize("bring", [relayed, watched, abandoned, unknown, delivered])
def test_who_has_a_result_needs_no_webhook(either: Desk, bring: Bring) -> None:
    (job_id,) = bring(either, told("a"))

    result = either.run("webhooks", "confirm", "a")

    assert (result.exit_code, result.stdout) == (0, "1 of 1: delivered\n")
    assert stands(either, job_id) == "delivered"


def test_what_cannot_be_confirmed_is_named(either: Desk) -> None:
    (quiet,) = relayed(either, line("quiet"))
    (gone,) = abandoned(either, told("gone"))

    result = either.run("webhooks", "confirm", quiet, gone)

    assert (result.exit_code, result.stdout) == (3, "1 of 2: delivered\n")
    assert result.stderr == f"runqueue: {quiet}: {NOT_TO_BE_TOLD}\n"


def test_without_a_name_nothing_is_confirmed(either: Desk) -> None:
    assert either.run("webhooks", "confirm").exit_code == 2
    assert either.run("webhooks", "confirm", "nonsense").exit_code == 3
