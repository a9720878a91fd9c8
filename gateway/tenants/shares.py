"""Shares of scarce capacity of a gateway: a holder of much leaves enough for the others."""

from typing import Final

#: Requests of bearers that are under way at a time. With the awaited bodies of webhooks and logins
#: they leave hundreds of connections to probes and to other webhooks.
REQUESTS: Final = 1_400
#: Bodies of webhooks that have not arrived whole, by account.
WEBHOOKS: Final = 300
#: Forms of those who are not logged in that have not arrived, by address.
STRANGERS: Final = 100
#: Uploads at a time: each may hold some ten megabytes.
UPLOADS: Final = 16
#: Results of batches that are sent at a time: each may hold as much.
DOWNLOADS: Final = 16
#: Bytes of large answers that are not read yet.
ANSWERS: Final = 64 * 1024 * 1024
#: Listeners to events, each of whom reads for itself, and pages that are kept up to date.
LISTENERS: Final = 128
PAGES: Final = 128
#: Lists that are made at a time: what is read for one is taken in within the event loop.
LISTS: Final = 4
#: Samples of webhooks that are sent at a time: each takes a connection to somebody's receiver.
TRIES: Final = 16
#: Requests for metrics with the scrape token: it is the only holder, so it gets half of them.
SCRAPES: Final = 16


class Shares:
    """Requests, or bytes; each holder may have as much as it leaves free.

    So one alone gets a half, and several that take all they can each leave something to the next
    (dynamic thresholds, Choudhury and Hahne, 1998).

    Args:
        most: how much there is.
    """

    def __init__(self, most: int) -> None:
        #: How much is held.
        self.held = 0
        self._most = most
        self._by_holder: dict[str, int] = {}

    def take(self, holder: str, amount: int = 1) -> bool:
        """Take an amount, if the holder leaves as much free as it then has; say whether it does."""
        has = self._by_holder.get(holder, 0) + amount
        if has > self._most - self.held:
            return False
        self._by_holder[holder] = has
        self.held += amount
        return True

    def give_back(self, holder: str, amount: int = 1) -> None:
        """Give back what was taken."""
        if not amount:
            return
        self.held -= amount
        self._by_holder[holder] -= amount
        if not self._by_holder[holder]:
            del self._by_holder[holder]
