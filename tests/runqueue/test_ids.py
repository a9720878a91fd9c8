"""Names: of one length, stable, and never mistaken for one another."""

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runqueue import ids

names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,31}", fullmatch=True)
keys = st.text(min_size=1, max_size=300)


@given(account=names, key=keys)
def test_every_id_has_the_one_length_and_alphabet(account: str, key: str) -> None:
    for made in (ids.new_id(account), ids.job_id_for(account, "", key)):
        assert len(made) == ids.ID_LENGTH
        assert re.fullmatch(r"[a-z2-7]+", made)
        assert ids.is_id(made)


@given(account=names, key=keys)
def test_an_id_begins_with_its_account_s_tag(account: str, key: str) -> None:
    tag = ids.account_tag(account)
    assert len(tag) == ids.TAG_LENGTH
    assert ids.new_id(account).startswith(tag)
    assert ids.job_id_for(account, "", key).startswith(tag)


def test_random_ids_do_not_repeat() -> None:
    made = {ids.new_id("default") for _ in range(20_000)}
    assert len(made) == 20_000


def test_derived_ids_do_not_change() -> None:
    """A marker that is at Skyvern already must still find its job."""
    assert ids.account_tag("default") == "nma3"
    assert ids.job_id_for("default", "", "order-17") == "nma3hvhb5tbdhxffjjm3sq3f"
    assert ids.job_id_for("acme", "erp", "order-17") == "zm6w2pcshyf4z3bsjodzkc73"


@given(key=keys)
def test_a_key_is_another_job_in_another_account_or_namespace(key: str) -> None:
    made = {
        ids.job_id_for(account, namespace, key)[ids.TAG_LENGTH :]
        for account in ("default", "acme")
        for namespace in ("", "erp", "crm")
    }
    assert len(made) == 6


@given(parts=st.lists(st.tuples(names | st.just(""), keys), min_size=2, unique=True))
def test_different_namespaces_and_keys_never_give_the_same_id(parts: list[tuple[str, str]]) -> None:
    assert len({ids.job_id_for("default", *part) for part in parts}) == len(parts)


def test_the_border_between_namespace_and_key_counts() -> None:
    assert ids.job_id_for("default", "a", "bc") != ids.job_id_for("default", "ab", "c")
    assert ids.job_id_for("default", "", "abc") != ids.job_id_for("default", "abc", "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a" * 23,
        "a" * 25,
        "A" * 24,
        "a" * 23 + "1",
        "a" * 23 + "8",
        "a" * 24 + "\n",
        "é" * 24,
    ],
)
def test_what_is_no_id(text: str) -> None:
    assert not ids.is_id(text)


@pytest.mark.parametrize("text", ["a", "0", "a-b_c", "a" * 32])
def test_what_may_be_a_name(text: str) -> None:
    assert ids.is_name(text)


@pytest.mark.parametrize("text", ["", "-a", "_a", "A", "a.b", "a b", "a" * 33, "a\n", "é", "{a}"])
def test_what_may_not_be_a_name(text: str) -> None:
    assert not ids.is_name(text)


@given(first=st.integers(1, 10_000), second=st.integers(1, 10_000))
def test_a_search_for_one_attempt_s_marker_never_finds_another_s(first: int, second: int) -> None:
    job = "a" * ids.ID_LENGTH
    title = f"Invoices {ids.title_marker(job, second)}"
    url = f"https://example.com/hook?x=1&{ids.url_marker(job, second)}"
    assert (ids.title_marker(job, first) in title) is (first == second)
    assert (ids.url_marker(job, first) in url) is (first == second)


def test_the_markers_are_those_of_the_first_version() -> None:
    assert ids.title_marker("abc", 7) == "[rq:abc.7]"
    assert ids.url_marker("abc", 7) == "rq_job=abc.7."


@pytest.mark.parametrize("made", [ids.title_marker, ids.url_marker])
@pytest.mark.parametrize(
    ("named", "queue", "is_own"),
    [("blue", "blue", True), ("", "blue", True), ("blue", "red", False), ("blue", "", False)],
)
def test_a_marker_is_a_queue_s_own_unless_it_names_another(
    made: Callable[[str, int, str], str], named: str, queue: str, is_own: bool
) -> None:
    job = ids.new_id("default")
    text = f"https://h.test/?{made(job, 1, named)}&blue=1"
    assert ids.own_markers_in(text, queue) == ({(job, 1)} if is_own else set())


def test_the_last_marker_of_a_text_is_its_own_and_those_before_it_were_copied() -> None:
    copied, own = ids.new_id("default"), ids.new_id("default")
    title = f"t {ids.title_marker(copied, 1)} {ids.title_marker(own, 2)}"
    assert ids.own_markers_in(title, "") == {(own, 2)}
    assert ids.markers_in(title) == {(copied, 1), (own, 2)}
    theirs = f"{ids.title_marker(own, 2)} {ids.title_marker(copied, 1, 'red')}"
    assert ids.own_markers_in(theirs, "blue") == set()


JOB = ids.job_id_for("default", "", "x")


@pytest.mark.parametrize("queue", ["", "blue"])
@pytest.mark.parametrize(
    ("url", "left"),
    [
        ("https://h.test/?{}", "https://h.test/?"),
        ("https://h.test/?a=1&{}", "https://h.test/?a=1&"),
        ("https://h.test/?{}&b=2", "https://h.test/?b=2"),
        ("https://h.test/?a=1&{}&b=2#{}", "https://h.test/?a=1&b=2#"),
        ("https://h.test/?{}#f", "https://h.test/?#f"),
        ("https://h.test/?rq_job=mine&a=1", "https://h.test/?rq_job=mine&a=1"),
        ("https://h.test/rq:a", "https://h.test/rq:a"),
    ],
)
def test_a_url_loses_the_markers_that_it_came_with(url: str, left: str, queue: str) -> None:
    marker = ids.url_marker(JOB, 3, queue)
    assert ids.without_url_markers(url.replace("{}", marker)) == left


@pytest.mark.parametrize(
    ("title", "left"),
    [("t {}", "t"), ("{}", ""), ("{} {} t", "t"), (" t [rq:mine] ", " t [rq:mine] "), ("", "")],
)
def test_a_title_loses_the_markers_that_it_came_with(title: str, left: str) -> None:
    marker = ids.title_marker(JOB, 12, "blue")
    assert ids.without_title_markers(title.replace("{}", marker)) == left


@pytest.mark.parametrize(
    ("value", "is_one"),
    [
        *((ids.tag_value(JOB, 3), True), (ids.tag_value(JOB, 3, "a"), True)),
        *(("mine", False), (f"{JOB}.3.", False), (3, False)),
    ],
)
def test_a_tag_s_value_that_names_an_attempt_is_told(value: object, is_one: bool) -> None:
    assert ids.is_tag_value(value) is is_one


@pytest.mark.parametrize(
    ("value", "queue", "named"),
    [
        *((ids.tag_value(JOB, 3), "", (JOB, 3)), (ids.tag_value(JOB, 3), "a", (JOB, 3))),
        (ids.tag_value(JOB, 3, "a"), "a", (JOB, 3)),
        *((ids.tag_value(JOB, 3, "b"), "a", None), (ids.tag_value(JOB, 3, "b"), "", None)),
        ("mine", "", None),
    ],
)
def test_a_tag_names_an_attempt_of_its_own_queue(
    value: str, queue: str, named: tuple[str, int] | None
) -> None:
    assert ids.own_tag(value, queue) == named
