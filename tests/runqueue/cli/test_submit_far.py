"""`runqueue submit --url`: a file that is submitted, and waited for, through a gateway."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.test_process import process, url_of
from tests.runqueue.cli.commanding import Desk, line, lines
from tests.runqueue.cli.gateways import by_http
from tests.runqueue.cli.test_wait import rows

TOKEN = "token-of-the-shop-0123456789"


@pytest.fixture
def shop(desk: Desk, tmp_path: Path) -> Iterator[Desk]:
    """Where commands are given with a token for the account `shop` alone."""
    desk.know("shop")
    given = {
        "RUNQUEUE_REDIS_URL": desk.url,
        "RUNQUEUE_API_TOKENS": "shop:enqueue+read+operate@shop:"
        + hashlib.sha256(TOKEN.encode()).hexdigest(),
    }
    with process(tmp_path, **given) as started:
        yield by_http(desk, url_of(started), TOKEN)


def test_a_file_becomes_a_batch(remote: Desk) -> None:
    report = remote.json("submit", remote.file(lines(2_500)), "--name", "far")

    found = remote.queue.get_batch(report["batches"]["default"])
    assert (found.name, found.total, found.sealed) == ("far", 2_500, True)
    assert (report["jobs"], report["new"]) == (2_500, 2_500)


def test_a_bad_line_far_behind_takes_it_all_back_and_all_are_named(remote: Desk) -> None:
    file = remote.file([*lines(3_500), "oops", line("a"), "oops"])

    result = remote.run("submit", file)

    assert result.exit_code == 3
    assert f"{file}:3501: line: " in result.stderr
    assert f"{file}:3503: line: " in result.stderr
    assert remote.states().get("ready", 0) in {0, 1_000, 2_000, 3_000}
    assert remote.claim() == []


def test_a_conflict_is_named_by_its_line_in_the_file(remote: Desk) -> None:
    remote.json("submit", remote.file([line("a")], "first.jsonl"))
    other = line("a", prompt="Something else.")
    file = remote.file(["", line("b"), line("b"), "oops", "", other])

    result = remote.run("submit", file, "--skip-invalid")

    assert f"{file}:6: custom_id: a: names job " in result.stderr
    assert remote.states() == {"ready": 2}


def test_a_file_that_is_known_is_followed_by_its_batch(remote: Desk, tmp_path: Path) -> None:
    file, out = remote.file(lines(5)), tmp_path / "out.jsonl"
    batch = remote.json("submit", file)["batches"]["default"]

    with remote.working(Desk.end):
        report = remote.json("submit", file, "--results", str(out))

    assert (report["new"], report["known"]) == (0, 5)
    assert report["known_in"][0]["batch"] == batch
    assert report["states"] == {"completed": 5}
    assert [row["custom_id"] for row in rows(out)] == [f"order-{n}" for n in range(5)]


def test_a_file_of_several_accounts_is_refused(remote: Desk) -> None:
    remote.know("second")
    file = remote.file([line("a"), line("b", account="second")])

    result = remote.run("submit", file)

    assert result.exit_code == 3
    assert f"{file}:2: account: expected account 'default'" in result.stderr
    assert remote.states() == {}


def test_an_empty_file_is_no_fault(remote: Desk) -> None:
    assert remote.json("submit", remote.file([]))["batches"] == {}


def test_a_token_for_one_account_names_none(shop: Desk) -> None:
    report = shop.json("submit", shop.file([line("a"), line("b", account="shop")]))

    batch = report["batches"]["shop"]
    assert shop.queue.get_batch(batch).account == "shop"
    assert shop.states("shop") == {"ready": 2}
    assert batch in shop.run("batch", "list").stdout
    assert shop.run("group", "set", "default", "--pause").exit_code == 0
    assert "default" in shop.run("group", "list").stdout
    assert shop.run("batch", "list", "--account", "default").exit_code == 3


def test_a_token_for_one_account_hands_in_for_no_other(shop: Desk) -> None:
    result = shop.run("submit", shop.file([line("a", account="default")]))

    assert result.exit_code == 3
    assert "1: account: unknown account 'default'" in result.stderr


def test_the_account_of_a_file_is_that_of_its_first_good_line(remote: Desk) -> None:
    remote.know("second")
    file = remote.file(
        [*["oops"] * 2_500, line("a", account="second"), line("b", account="second")]
    )

    report = remote.json("submit", file, "--skip-invalid")

    assert list(report["batches"]) == ["second"]
    assert (report["new"], report["invalid_lines"]) == (2, 2_500)


def test_a_batch_is_called_like_its_file_wherever_that_lies(either: Desk) -> None:
    folder = either.folder / ("d" * 200)
    folder.mkdir()
    file = folder / ("f" * 100 + "\n.jsonl")
    Path(either.file(lines(1))).rename(file)

    report = either.json("submit", str(file))

    name = either.queue.get_batch(report["batches"]["default"]).name
    assert name == "f" * 100 + "?.jsonl"
