"""How the news of a job's end gets to the `webhook_url` of its request: an axis of its own."""

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


class DeliveryState(StrEnum):
    """The state of an ended job's webhook; a result never waits for it.

    `none`: no webhook is to be sent, or the job has not ended. `pending`: it is being tried.
    `delivered`: the receiver took it, or the consumer confirmed it. `abandoned`: every try failed.
    `unknown`: Skyvern sent it, and does not say whether it arrived.
    """

    NONE = "none"
    PENDING = "pending"
    DELIVERED = "delivered"
    ABANDONED = "abandoned"
    UNKNOWN = "unknown"


class WebhookDelivery(NamedTuple):
    """What became of a job's webhook.

    Args:
        attempts: how often we sent it, or had it sent again; Skyvern's own tries are not known.
        status: the receiver's last answer; None = none came.
        error: why it was not delivered; or that its consumer confirmed it.
        url: where it goes instead of the request's own URL, if a person said so.
        settled_at: when it was delivered or abandoned.
        next_try_at: when it is tried, or checked, again.
    """

    state: DeliveryState = DeliveryState.NONE
    attempts: int = 0
    status: int | None = None
    error: str | None = None
    url: str | None = None
    settled_at: datetime | None = None
    next_try_at: datetime | None = None


#: No webhook is to be sent.
NO_WEBHOOK = WebhookDelivery()


# What the calls about webhooks take and give, item by item; `claim_items.py` has those of runs.


class Reported(NamedTuple):
    """What a webhook reported of a run.

    Args:
        job_id, attempt: whose address it came to.
        state: what the job is by it; '' = the run goes on.
        signed: its signature and its timestamp, as they came, with a space between them.
        final: whether the job's `retry` was applied to a bad end.
        created_us: when Skyvern made the run; 0 = not reported. One from before the job was
            enqueued is of an earlier life of its key.
        figures: what the run took; see `FigureRules.encode`.
        reason: why the run has no result, as a record keeps it; '' = not reported.
    """

    job_id: str
    attempt: int
    run_id: str
    run_status: str
    state: str
    signed: str
    final: bool
    body: bytes
    created_us: int = 0
    figures: str = ""
    reason: str = ""

    def __repr__(self) -> str:
        return f"Reported({self.job_id!r}, {self.attempt}, {self.run_id!r}, {self.run_status!r})"


class WebhookVerdict(StrEnum):
    """What came of a webhook; see `record_webhook.lua`."""

    ENDED = "ended"
    NOTED = "noted"
    DUPLICATE = "duplicate"
    POLICY = "policy"
    ORPHAN = "orphan"
    OTHER = "other"
    UNKNOWN = "unknown"


class Report(NamedTuple):
    """The reply to a webhook; with `policy` the job's policy as stored, runs so far and session."""

    verdict: WebhookVerdict
    retry: str = ""
    runs: int = 0
    session: str = ""


class DueDelivery(NamedTuple):
    """A webhook whose delivery is due.

    Args:
        run_status: how the run ended.
        webhook_route: `relay` (we send it) or `watch` (Skyvern did, and we check whether it
            arrived).
        tries, looks: how often it was sent, and checked, so far.
        forced: an operator requested it.
        ended_us: when the run was seen to be over, by the queue's clock.
        signed: Skyvern's signature of the body and its timestamp; '' = the body is none that it
            signed.
        url: where it is to go instead of the request's own URL; '' = there.
        envelope: the stored request's first line.
        body: what is to be sent; b'' where we send nothing.
        state: what the job is.
    """

    job_id: str
    attempt: int
    run_id: str
    run_status: str
    webhook_route: str
    tries: int
    looks: int
    forced: bool
    ended_us: int
    signed: str
    url: str
    envelope: bytes
    body: bytes
    state: str = ""

    def __repr__(self) -> str:
        return f"Delivery({self.job_id!r}, {self.attempt}, {self.run_id!r}, {self.webhook_route!r})"


class Delivered(NamedTuple):
    """What came of a delivery.

    Args:
        verdict: again, delivered, abandoned or unknown.
        was_tried: whether a webhook was sent; else it was only checked.
        status: the receiver's answer; None = none came.
        error: why it was not delivered, in words.
        wait_us: until the next try.
        endpoint: scheme, host and port that were tried; '' = none.
        answered: whether the endpoint did, with whatever but a failure of its own.
        signed, body: what Skyvern signed, where its API reported that; '' and b'' = as before.
        tries, looks: those of the `DueDelivery`: recorded again, it is not counted again.
    """

    job_id: str
    attempt: int
    verdict: str
    was_tried: bool
    status: int | None = None
    error: str = ""
    wait_us: int = 0
    endpoint: str = ""
    answered: bool = False
    signed: str = ""
    body: bytes = b""
    tries: int = 0
    looks: int = 0

    def __repr__(self) -> str:
        return f"Delivered({self.job_id!r}, {self.attempt}, {self.verdict!r}, {self.status})"
