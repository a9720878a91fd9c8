"""Which accounts exist, and which of them an id belongs to."""

from collections.abc import Iterable
from typing import Any

from runqueue.errors import UnknownAccount
from runqueue.ids import account_tag

DEFAULT = "default"


def account_of(any_id: str, accounts: Iterable[str]) -> str | None:
    """Return the account that a job or batch id belongs to: it begins with the account's hash."""
    return next((name for name in accounts if any_id.startswith(account_tag(name))), None)


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

    def missing(self, accounts: set[str]) -> bool:
        """Tell whether one of the accounts is not known (yet)."""
        return not accounts.issubset(self.known)

    def require(self, accounts: set[str]) -> None:
        """Make sure that the accounts exist.

        Raises:
            UnknownAccount: one does not.
        """
        for account in sorted(accounts):
            if account not in self.known:
                raise UnknownAccount(account)
