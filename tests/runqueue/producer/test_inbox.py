"""Lines without an answer: the check, what is kept of a refused one, and its way back."""

import json
from typing import Any

import orjson
import pytest

from runqueue import parse_line
from runqueue.operator.refused_lines import line_again
from runqueue.producer import inbox
from runqueue.producer.inbox import Checked, InboxLine, celery_key, check_lines, inbox_key
from runqueue.store.job_calls import job_id_of

BODY = {"prompt": "Read the price."}
GOOD: dict[str, Any] = {"kind": "task", "body": BODY}


def check(*raw: Any, **more: Any) -> Checked:
    lines = [InboxLine(line, f"key-{n}") for n, line in enumerate(raw)]
    return check_lines(lines, "inbox", ["default", "acme"], **more)


def errors(checked: Checked) -> dict[int, list[str]]:
    return {position: [str(e) for e in found] for position, found in checked.refused.items()}


def ids(checked: Checked) -> list[str]:
    return [arguments[0] for packet in checked.packets for arguments in packet.arguments]


def test_a_line_without_a_custom_id_gets_the_key_it_would_get_again() -> None:
    assert ids(check(GOOD)) == ids(check(GOOD))
    named = parse_line({**GOOD, "custom_id": "key-0", "namespace": "inbox"})
    assert ids(check(GOOD)) == [job_id_of(named)]


def test_the_namespace_of_a_line_without_a_custom_id_does_not_matter() -> None:
    assert ids(check({**GOOD, "namespace": "shop"})) == ids(check(GOOD))


def test_a_custom_id_and_its_namespace_stay_as_they_are() -> None:
    line = {**GOOD, "custom_id": "order-17", "namespace": "shop"}
    assert ids(check(line)) == [job_id_of(parse_line(line))]


def test_invalid_lines_keep_no_other_from_being_accepted() -> None:
    checked = check("nonsense", GOOD, {**GOOD, "prompt": 1}, None)
    assert [packet.positions for packet in checked.packets] == [[1]]
    assert errors(checked) == {
        0: [
            "line: expected JSON, got something else at column 1: invalid literal, expected 'null'"
        ],
        2: ["prompt: unknown field, 'prompt' belongs in the body"],
        3: ["line: expected an object, got null"],
    }


def test_an_account_that_may_not_be_named_is_an_error() -> None:
    assert errors(check({**GOOD, "account": "nobody"})) == {
        0: ["account: unknown account 'nobody'"]
    }


def test_a_line_that_names_no_account_is_the_inbox_s_own() -> None:
    (packet,) = check(GOOD, default="acme").packets
    assert packet.account == "acme"
    (packet,) = check({**GOOD, "account": "default"}, default="acme").packets
    assert packet.account == "default"


def test_what_breaks_the_check_is_refused_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object) -> None:
        raise RecursionError

    monkeypatch.setattr(inbox, "parse_line", breaks)
    assert errors(check(GOOD)) == {0: ["line: it cannot be read (RecursionError)"]}


def test_two_lines_with_one_number_have_two_keys() -> None:
    assert inbox_key("default", "1", b"a") != inbox_key("default", "1", b"b")
    assert inbox_key("default", "1", b"a") != inbox_key("acme", "1", b"a")


@pytest.mark.parametrize("task_id", ["", "x" * 300, "a\nb", "\ud800"])
def test_a_task_id_that_can_be_no_key_is_given_another_form(task_id: str) -> None:
    key = celery_key(task_id, 3)
    assert parse_line({**GOOD, "custom_id": key}).custom_id == key
    assert key != celery_key(task_id + "x", 3)


def test_a_plain_task_id_is_the_key_with_the_index() -> None:
    assert celery_key("a8b1-22", 3) == "a8b1-22-3"


def refused(raw: Any, namespace: str = "inbox") -> dict[str, Any]:
    checked = check_lines([InboxLine(raw, "key-0")], namespace, ["default", "acme"])
    assert list(checked.refused) == [0]
    record: dict[str, Any] = json.loads(checked.kept(0, 1_800_000_000_000_000))
    return record


def test_a_refused_line_is_kept_with_its_errors_and_the_time() -> None:
    assert refused('{"kind": "task"}') == {
        "line": '{"kind": "task"}',
        "error": [
            {"field": "body", "message": "required, expected an object of run request fields"}
        ],
        "at": "2027-01-15T08:00:00+00:00",
        "key": "key-0",
        "namespace": "inbox",
    }


def test_a_line_that_is_no_text_comes_back_byte_by_byte() -> None:
    line = b'{"custom_id": "\xff\xfe'
    assert line_again(refused(line), "acme") == ("acme", line)


def test_a_line_goes_back_with_the_key_it_had_and_so_to_the_same_job() -> None:
    line = json.dumps({"kind": "task", "account": "late", "custom_id": None, "body": BODY})
    again = line_again(refused(line, "celery"), "default")
    assert again is not None
    account, text = again
    spec = parse_line(text)
    assert (account, spec.custom_id, spec.namespace) == ("late", "key-0", "celery")


def test_a_line_of_an_inbox_goes_to_no_other_account_s() -> None:
    other = json.dumps({"kind": "task", "account": "late", "body": BODY})
    assert line_again(refused(other), "default") is None
    assert line_again(refused(other, ""), "default") is None
    again = line_again(refused(other), "late")
    assert again is not None
    assert again[0] == "late"


def test_a_line_with_a_custom_id_goes_back_as_it_was() -> None:
    line = orjson.dumps({"custom_id": "order-17", "kind": "task"})
    assert line_again(refused(line), "acme") == ("acme", line)


def test_an_object_comes_back_as_the_line_it_stood_for() -> None:
    again = line_again(refused({"kind": "task", "body": {"prompt": 1}}), "default")
    assert again is not None
    assert orjson.loads(again[1])["body"] == {"prompt": 1}


def test_of_a_line_no_job_is_as_long_as_only_the_beginning_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inbox, "_MAX_CHARS", 2000)
    record = refused("x" * 2001)
    assert (len(record["line"]), record["cut"]) == (1000, True)
    assert line_again(record, "default") is None


@pytest.mark.parametrize("raw", [{1: object()}, {("a",): 1}, "\ud800"])
def test_what_no_line_can_be_is_kept_all_the_same(raw: Any) -> None:
    line_again(refused(raw), "default")
