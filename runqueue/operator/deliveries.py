"""What people do about webhooks: find those that did not arrive, have them sent again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import chain

from runqueue.operator.selection import JobSelector, Settled, named
from runqueue.producer.listing import Filter
from runqueue.records.delivery import DeliveryState
from runqueue.records.job import Job
from runqueue.request.requests import WEB_URL_WORDS, is_web_url
from runqueue.store import delivery_calls

#: Those that are found; the others have no index.
FOUND = (DeliveryState.PENDING, DeliveryState.GAVE_UP, DeliveryState.UNKNOWN)


class Deliveries(JobSelector):
    """The operator's actions on the webhooks of jobs; a part of `Operations`."""

    def find_deliveries(
        self,
        state: DeliveryState,
        wanted: Filter | None = None,
        *,
        account: str | None = None,
        since: datetime | None = None,
    ) -> Iterator[Job]:
        """Go through the jobs whose webhook is in a state, in constant memory.

        Given up and unknown ones come in the order in which that was decided, pending ones as they
        are due; of these, one that is tried meanwhile may come twice.

        Args:
            state: pending, gave_up or unknown; the others have no index.
            wanted: which of them; None = all.
            account: of one account; None = of every one.
            since: only those whose run ended then or later.

        Raises:
            ValueError: a state without an index, or a time without a zone.
            UnknownAccount: no worker ever served this account.
        """
        if state not in FOUND:
            raise ValueError(f"state: expected one of {', '.join(FOUND)}, got {state}")
        if since is not None and since.utcoffset() is None:
            raise ValueError(f"since: expected a time with its zone, got {since.isoformat()}")
        which = (wanted or Filter())._replace(webhook=state, since=since)
        return chain.from_iterable(self.pages(which, account=account))

    def deliver_again(self, job_ids: Iterable[str], url: str = "") -> dict[str, Settled]:
        """Have webhooks sent again, whatever came of them; returns what came of each job.

        Args:
            job_ids: the jobs.
            url: where to, from now on; '' = where they were to go. With it jobs without a
                receiver have a webhook, too.

        Raises:
            ValueError: the url is none; nothing was done.
        """
        if url:
            check_url(url)
        codes = self._each(
            job_ids, lambda account, some: delivery_calls.deliver_again(account, some, url)
        )
        return named(codes, {0: Settled.NO_ENDED_RUN if url else Settled.NO_WEBHOOK})

    def confirm_delivery(self, job_ids: Iterable[str]) -> dict[str, Settled]:
        """Say that the results of jobs have arrived, however; returns what came of each job."""
        codes = self._each(job_ids, delivery_calls.confirm_delivery)
        return named(codes, {0: Settled.NO_WEBHOOK})


def check_url(url: str) -> None:
    """Make sure that a webhook can be sent to a URL; it is not shown, as it may hold a password.

    Raises:
        ValueError: it cannot.
    """
    if not is_web_url(url):
        raise ValueError(f"url: expected {WEB_URL_WORDS}")
