"""Which accounts exist, and which of them an id belongs to."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from runqueue.errors import AmbiguousAccounts, UnknownAccount
from runqueue.ids import DEFAULT, TAG_LENGTH, account_tag


def account_of(any_id: str, accounts: Iterable[str]) -> str | None:
    """Return the account that a job or batch id belongs to: it begins with the account's hash."""
    return next((name for name in accounts if any_id.startswith(account_tag(name))), None)


def check_names(names: Iterable[str]) -> None:
    """Make sure that ids distinguish accounts.

    Raises:
        AmbiguousAccounts: those of two begin alike.
    """
    by_tag: dict[str, str] = {}
    for name in sorted(set(names)):
        other = by_tag.setdefault(account_tag(name), name)
        if other != name:
            raise AmbiguousAccounts(other, name)


def pages(
    job_ids: Sequence[str], accounts: Iterable[str], size: int
) -> Iterator[tuple[str, list[int]]]:
    """Yield (account, positions), `size` positions at most each; ids of no account are left out."""
    by_account: dict[str, list[int]] = {}
    known = list(accounts)
    for position, job_id in enumerate(job_ids):
        account = account_of(job_id, known)
        if account is not None:
            by_account.setdefault(account, []).append(position)
    for account, positions in by_account.items():
        for start in range(0, len(positions), size):
            yield account, positions[start : start + size]


class Accounts:
    """What one client has learned of the accounts; `default` always exists."""

    def __init__(self) -> None:
        self.known: list[str] = [DEFAULT]
        #: Whether the server was seen not to evict.
        self.checked = False

    def learn(self, members: Any) -> list[str]:
        """Take in the set of accounts as Redis gives it, and return their names."""
        names = {name.decode() for name in members} - {DEFAULT}
        self.known = [DEFAULT, *sorted(names)]
        return self.known

    def know_all(self, job_ids: Iterable[str]) -> bool:
        """Say whether every id belongs to a known account."""
        tags = {account_tag(name) for name in self.known}
        return all(job_id[:TAG_LENGTH] in tags for job_id in job_ids)

    def missing(self, accounts: set[str]) -> bool:
        """Say whether one of the accounts is not known (yet)."""
        return not accounts.issubset(self.known)

    def require(self, accounts: set[str]) -> None:
        """Make sure that the accounts exist.

        Raises:
            UnknownAccount: one does not.
        """
        for account in sorted(accounts):
            if account not in self.known:
                raise UnknownAccount(account)
