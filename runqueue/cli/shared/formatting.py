"""How numbers, names and untrusted texts are put into a sentence."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal

from runqueue.connection.urls import shown_url
from runqueue.records.delivery import DeliveryState, WebhookDelivery
from runqueue.records.run_figures import price_of


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: '1 job', '2,000 jobs'.

    Args:
        number: how many.
        noun: of one.
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def price_per_credit() -> Decimal | None:
    """Return what a credit costs, as the setting says; None = it is not set."""
    return price_of(os.environ.get("RUNQUEUE_PRICE_PER_CREDIT", ""))


def printable(text: str) -> str:
    """Return a text without terminal control characters."""
    return "".join(character if character.isprintable() else "�" for character in text)


def ago(since: datetime) -> str:
    """Return how long ago something was, in the largest unit that fits: '42 s', '3 h'."""
    seconds = max(0.0, (datetime.now(UTC) - since).total_seconds())
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} s"


def webhook_words(found: WebhookDelivery) -> str:
    """Return the state of a webhook in words; '' without a receiver."""
    if found.state is DeliveryState.NONE:
        return ""
    words = found.state.replace("_", " ")
    if found.attempts:
        words += f" after {counted(found.attempts, 'attempt')}"
    if found.status is not None:
        words += f", last answer {found.status}"
    if found.error:
        words += f": {found.error}"
    if found.next_try_at is not None:
        words += f", {_soon(found.next_try_at)}"
    return f"{words} (to {shown_url(found.url)})" if found.url else words


def _soon(moment: datetime) -> str:
    seconds = (moment - datetime.now(UTC)).total_seconds()
    return f"again in {seconds:.0f} s" if seconds >= 1 else "due now"


def count_words(deliveries: Mapping[DeliveryState, int]) -> str:
    """Return the counts of webhooks not known to be delivered; '' if there are none."""
    return ", ".join(
        f"{deliveries[state]:,} {state.replace('_', ' ')}"
        for state in deliveries
        if deliveries[state] and state is not DeliveryState.DELIVERED
    )
