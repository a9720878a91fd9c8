"""Jobs that are packed go on as others do."""

from __future__ import annotations

from runqueue.store import codec, compression
from tests.runqueue.lua.clockwork import Clockwork, spec
from tests.runqueue.lua.packs import PROMPT, body, over, pack, replay
from tests.runqueue.lua.webhooks import URL, due, receive, told


def test_a_packed_job_that_is_done_again_sends_the_request_as_it_was_submitted(
    clock: Clockwork,
) -> None:
    (job,) = over(clock, state="failed", url=URL)
    stored = body(clock, job)
    pack(clock)
    assert replay(clock, job) == [1]
    assert clock.job(job).result is None

    (claimed,) = clock.claim().items

    assert compression.is_packed(claimed.stored.partition(b"\n")[2])
    assert codec.submission(claimed.stored, job, 2) == codec.submission(stored, job, 2)
    assert clock.field(job, "webhook_route") == "watch", "the script finds the URL in its envelope"


def test_a_job_that_ended_again_has_its_last_result_packed_or_not(clock: Clockwork) -> None:
    (job,) = over(clock, state="failed")
    pack(clock)
    replay(clock, job)
    clock.wait(1)
    assert clock.end_all("completed") == [job]
    assert clock.job(job).result == {}
    clock.wait(1)
    assert pack(clock) == 1
    assert clock.job(job).result == {}
    assert not clock.client.exists(clock.key(f"result:{job}"))


def test_a_webhook_that_comes_late_finds_the_address_of_a_packed_job(clock: Clockwork) -> None:
    (job,) = over(clock, url=URL)
    pack(clock)
    assert receive(clock, told(job, body=b'{"signed": 1}')) == ["duplicate"]
    assert clock.field(job, "webhook_route") == "relay"
    assert due(clock)[0].body == b'{"signed": 1}'


def test_a_key_that_is_used_again_finds_its_packed_job(clock: Clockwork) -> None:
    (job,) = over(clock, names=["order-1"])
    pack(clock)
    (known,) = clock.enqueue_specs([spec("order-1", body=PROMPT)])
    assert (known.job_id, known.status) == (job, "known")
