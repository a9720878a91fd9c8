"""Accounts are told from each other by four characters of their ids, which no two may share."""

import pytest

from runqueue.errors import AmbiguousAccounts
from runqueue.store.accounts import check_names

#: Two names whose tags are equal.
FIRST, SECOND = "tenant-308", "tenant-517"


def test_two_accounts_whose_ids_begin_alike_are_refused_by_their_names() -> None:
    with pytest.raises(AmbiguousAccounts, match=f"{FIRST} and {SECOND}") as refused:
        check_names([SECOND, "default", FIRST, "acme"])

    assert (refused.value.first, refused.value.second) == (FIRST, SECOND)


def test_accounts_that_can_be_told_apart_are_fine_also_named_twice() -> None:
    check_names(["default", FIRST, "acme", FIRST])
