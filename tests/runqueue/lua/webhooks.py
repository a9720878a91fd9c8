"""What the tests of webhooks share: jobs whose end is to be told, what comes, what goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from runqueue.records.claim_items import Finished, Taken
from runqueue.records.delivery import Delivered, DueDelivery, Reported
from runqueue.store import delivery_calls, job_calls, worker_calls
from tests.runqueue.lua.clockwork import DAY, SECOND, Clockwork

#: Where users want to be told.
URL = "https://user.test/hook"
ENDPOINT = "https://user.test"
BODY = b'{"status":"completed"}'
SIGNED = "5e1f 1800000000"
#: How long a delivery that nobody recorded is left alone, and how long one is worth a try.
DELIVERY_LEASE, SPAN = 20 * SECOND, 2 * DAY
#: Seconds that an end which a poll saw waits for Skyvern's own webhook.
RELAY_AFTER = 3


def awaited(clock: Clockwork, n: int = 1, **options: Any) -> list[str]:
    """Jobs that run as `r-<id>`, their webhooks sent to our receiver, which is to pass them on."""
    return clock.running(n, receives=True, url=URL, **options)


def told(
    job_id: str,
    *,
    attempt: int = 1,
    run_id: str = "",
    state: str = "completed",
    signed: str = SIGNED,
    final: bool = False,
    body: bytes = BODY,
    created_us: int = 0,
) -> Reported:
    """What a webhook told of a run, by default that `r-<id>` is over."""
    run_id = run_id or f"r-{job_id}"
    status = state or "running"
    return Reported(job_id, attempt, run_id, status, state, signed, final, body, created_us)


def receive(clock: Clockwork, *items: Reported) -> list[str]:
    """Record webhooks; returns the verdicts."""
    call = delivery_calls.record_webhook(clock.account, items)
    return [report.verdict.value for report in clock.run(call)]


def ended(clock: Clockwork, n: int = 1, **options: Any) -> list[str]:
    """Jobs that a webhook ended; it is due to be passed on."""
    job_ids = awaited(clock, n, **options)
    assert receive(clock, *map(told, job_ids)) == ["ended"] * n
    return job_ids


def watched(clock: Clockwork, n: int = 1) -> list[str]:
    """Jobs that are over, and that Skyvern itself is to tell the user of."""
    job_ids = clock.running(n, url=URL)
    done = [Finished(i, 1, f"r-{i}", "completed", "completed", "", BODY) for i in job_ids]
    assert clock.run(worker_calls.finish(clock.account, done)) == [1] * n
    return job_ids


def take(
    clock: Clockwork,
    want: int = 10,
    *,
    stay_idle: bool = False,
    tick_us: int = 0,
    busy: Mapping[str, int] | None = None,
) -> Taken[Any]:
    """Take deliveries that are due, up to so many of one receiver, under a lease that holds."""
    if not clock.heartbeat("p1"):
        clock.heartbeat("p1", first=True)
    call = delivery_calls.delivery_claim(
        clock.account,
        "p1",
        4 * want,  # one receiver gets a quarter
        tick_us,
        stay_idle=stay_idle,
        lease_us=DELIVERY_LEASE,
        span_us=SPAN,
        busy=busy or {},
    )
    return clock.run(call)


def due(clock: Clockwork, want: int = 10) -> list[DueDelivery]:
    """The deliveries that are taken now."""
    return cast("list[DueDelivery]", take(clock, want).items)


def outcome(item: DueDelivery, verdict: str = "delivered", **fields: Any) -> Delivered:
    """What came of a delivery, by default that the receiver took it."""
    answers: dict[str, Any] = {"status": 200, "endpoint": ENDPOINT, "answered": True}
    if verdict == "again":
        answers = {"error": "no answer", "wait_us": 5 * SECOND, "endpoint": ENDPOINT}
    elif item.webhook_route == "watch":
        answers = {}
    answers |= {
        "was_tried": item.webhook_route == "relay",
        "tries": item.tries,
        "looks": item.looks,
    }
    return Delivered(item.job_id, item.attempt, verdict, **(answers | fields))


def record(clock: Clockwork, *items: Delivered) -> list[int]:
    """Record what came of deliveries."""
    return clock.run(delivery_calls.record_delivery(clock.account, items))


def ask(clock: Clockwork, *job_ids: str, url: str = "") -> list[int]:
    """A person has webhooks sent again."""
    return clock.run(delivery_calls.deliver_again(clock.account, job_ids, url))


def confirm(clock: Clockwork, *job_ids: str) -> list[int]:
    """Consumers say that they have the results."""
    return clock.run(delivery_calls.confirm_delivery(clock.account, job_ids))


def stands(clock: Clockwork, job_id: str) -> list[str]:
    """Where a job's webhook stands: the indices that have it."""
    return [
        name
        for name in ("relays", "watches", "abandoned", "unknown")
        if clock.client.zscore(clock.key(name), job_id) is not None
    ]


def counts(clock: Clockwork) -> dict[str, int]:
    """How many webhooks stand how, as the counters say."""
    found = clock.run(job_calls.stats(clock.account)).deliveries
    return {state.value: n for state, n in found.items() if n}


def webhook_health(clock: Clockwork) -> int:
    """How surely webhooks come, 0 to 20."""
    return int(meta(clock, "webhook_health") or 20)


def meta(clock: Clockwork, field: str) -> str:
    """A field of the account's own record."""
    raw = cast("bytes | None", clock.client.hget(clock.key("meta"), field))
    return raw.decode() if raw else ""


def polled_in(clock: Clockwork, job_id: str) -> float:
    """How many seconds from now the run is looked at."""
    score = cast("float", clock.client.zscore(clock.key("poll"), job_id))
    return (score - clock.now) / SECOND


def miss(clock: Clockwork, job_ids: Sequence[str]) -> None:
    """A poll finds runs over whose webhooks did not come."""
    for job_id in job_ids:
        assert clock.finish(job_id) == 1
