"""How the news of a job's end gets to the `webhook_url` of its request: an axis of its own."""

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


class DeliveryState(StrEnum):
    """How the webhook of a job that is over stands; a result never waits for it.

    `none`: nobody is to be told, or the job has not ended. `pending`: it is being tried.
    `delivered`: the receiver took it, or the consumer confirmed it. `gave_up`: every try failed.
    `unknown`: Skyvern sent it, and does not tell whether it arrived.
    """

    NONE = "none"
    PENDING = "pending"
    DELIVERED = "delivered"
    GAVE_UP = "gave_up"
    UNKNOWN = "unknown"


class WebhookDelivery(NamedTuple):
    """What became of a job's webhook.

    Args:
        attempts: how often we sent it, or had it sent again; Skyvern's own tries are not known.
        status: the receiver's last answer; None = none came.
        error: why it was not delivered; or that its consumer confirmed it.
        url: where it goes instead of the request's own URL, if a person said so.
        settled_at: when it was delivered or given up.
        next_try_at: when it is tried, or looked at, again.
    """

    state: DeliveryState = DeliveryState.NONE
    attempts: int = 0
    status: int | None = None
    error: str | None = None
    url: str | None = None
    settled_at: datetime | None = None
    next_try_at: datetime | None = None


#: Nobody is to be told.
NO_WEBHOOK = WebhookDelivery()
