"""Groups of errors: what makes two failures the same."""

import pytest

from archive.errors import LONGEST, ErrorKind, generic


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("Timeout 30000 ms exceeded at https://a.test/x?y=1", "Timeout <n> ms exceeded at <url>"),
        ("no element for tsk_4711a and wr_5", "no element for <id> and <id>"),
        ("order 8a9c7bde-1111-4222-8333-444455556666 is gone", "order <id> is gone"),
        ("commit 8a9c7bde0 and 12345678 of 9", "commit <id> and <id> of <n>"),
        ("at 2026-12-02T01:02:03.5Z by ann@shop.test", "at <time> by <email>"),
        ("connect to 10.0.0.7:443:  refused\nagain", "connect to <address>: refused again"),
        ("the page changed", "the page changed"),
        ("", ""),
    ],
)
def test_what_varies_is_taken_out_of_a_reason(reason: str, words: str) -> None:
    assert generic(reason) == words


def test_words_of_a_group_are_short() -> None:
    assert len(generic("word " * 10_000)) <= LONGEST


def test_groups_differ_by_account_category_and_words() -> None:
    kinds = [ErrorKind(a, c, w) for a in ("x", "y") for c in ("", "LLM") for w in ("v", "w")]
    ids = {kind.id for kind in kinds}
    assert len(ids) == 8
    assert all(0 <= one < 2**63 for one in ids)
