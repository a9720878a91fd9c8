"""Batches, groups and lists as a service uses them, through either queue."""

from datetime import timedelta
from typing import Any

import pytest
import redis

from runqueue import (
    KEEP,
    BatchCanceled,
    BatchExpired,
    BatchMismatch,
    BatchNotFound,
    BatchRules,
    BatchStatus,
    InvalidBatch,
    InvalidGroup,
    InvalidJob,
    InvalidRequest,
    JobState,
    Retried,
    UnknownAccount,
)
from runqueue.ids import new_id
from runqueue.producer.listing import Filter
from runqueue.records.batch import ActiveRules
from runqueue.records.claim_items import Lost
from runqueue.store import worker_calls
from runqueue.store.sending import run
from tests.either import Ask
from tests.runqueue.producer.test_queue import claimed, finish_all, line


async def batch_of(ask: Ask, *lines: dict[str, Any], **rules: Any) -> str:
    batch: str = await ask("open_batch", "a file", rules=BatchRules(**rules))
    await ask("enqueue_many", list(lines), batch=batch)
    await ask("seal_batch", batch)
    return batch


async def test_a_batch_and_its_jobs_have_metadata_of_their_own(
    ask: Ask, client: redis.Redis
) -> None:
    batch = await ask("open_batch", metadata={"customer": "acme"})
    given = line("a", metadata={"order": "17"})
    answers = await ask("enqueue_many", [given, line("b")], batch=batch)
    await ask("seal_batch", batch)

    (known,) = await ask("enqueue_many", [{**given, "metadata": {"order": "18"}}])
    finish_all(client)

    jobs = await ask("get_many", [answer.job_id for answer in answers])
    assert known.status == "known"
    assert [job.as_row()["metadata"] for job in jobs] == [{"order": "17"}, {}]
    assert (await ask("get_batch", batch)).metadata == {"customer": "acme"}
    assert (await ask("list_batches")).batches[0].as_dict()["metadata"] == {"customer": "acme"}
    uploaded = await ask("upload", [line("c")], metadata={"customer": "büro, 2=3"})
    assert (await ask("get_batch", uploaded.batch_id)).metadata == {"customer": "büro, 2=3"}
    for name, more in ("open_batch", []), ("upload", [[line("d")]]):
        with pytest.raises(InvalidBatch, match=r"metadata: expected an object .*, got the name"):
            await ask(name, *more, metadata={"a b": "x"})


async def test_a_job_and_a_batch_without_metadata_store_no_field_for_it(
    ask: Ask, client: redis.Redis
) -> None:
    batch = await ask("open_batch")
    (answer,) = await ask("enqueue_many", [line("a")], batch=batch)
    for key in (f"batch:{batch}", f"job:{answer.job_id}"):
        fields: Any = client.hkeys(f"runqueue:{{default}}:{key}")
        assert fields
        assert b"metadata" not in fields


async def test_a_batch_is_paused_resumed_and_done(ask: Ask, client: redis.Redis) -> None:
    batch = await batch_of(ask, line("a"), line("b"))
    paused = await ask("pause_batch", batch)
    assert (paused.held, paused.status) == ("paused", BatchStatus.IN_PROGRESS)
    finish_all(client)
    assert (await ask("get_batch", batch)).request_counts["completed"] == 0

    client.delete("runqueue:{default}:claim:a claim")
    assert (await ask("resume_batch", batch)).held is None
    assert (await ask("resume_batch", batch)).held is None
    finish_all(client)

    done = await ask("get_batch", batch)
    assert done.status is BatchStatus.COMPLETED
    assert done.as_dict()["request_counts"] == {
        "total": 2,
        "completed": 2,
        "failed": 0,
        "canceled": 0,
        "dead": 0,
    }
    assert done.as_dict()["finished_at"]


async def test_what_was_canceled_is_done_again_if_that_is_said(
    ask: Ask, client: redis.Redis
) -> None:
    batch = await batch_of(ask, line("a"), line("b"))
    page = await ask("list_jobs", Filter(batch=batch))
    await ask("cancel", page.jobs[0].id)
    assert await ask("retry_failed", batch) == Retried({}, canceled_left=1)
    done = await ask("retry_failed", batch, canceled=True, reason="before it was submitted")
    assert (done, done.jobs) == (Retried({JobState.CANCELED: 1}), 1)
    assert (await ask("retry_failed", batch, canceled=True)).jobs == 0


async def test_a_canceled_batch_does_not_go_on(ask: Ask) -> None:
    batch = await batch_of(ask, line("a"))
    await ask("cancel_batch", batch)
    for name in ("pause_batch", "resume_batch", "retry_failed"):
        with pytest.raises(BatchCanceled, match=f"batch {batch} was canceled"):
            await ask(name, batch)


async def test_a_batch_that_is_none_is_told(ask: Ask) -> None:
    for name in ("pause_batch", "resume_batch", "retry_failed", "get_batch", "seal_batch"):
        for batch in ("nonsense", new_id("default")):
            with pytest.raises(BatchNotFound):
                await ask(name, batch)


async def test_rules_travel_with_the_batch(ask: Ask) -> None:
    batch = await batch_of(ask, line("a"), line("b"), canary=1, canary_ratio=1)
    assert (await ask("get_batch", batch)).held == "canary"
    with pytest.raises(InvalidBatch, match="canary: expected"):
        BatchRules(canary=0)
    with pytest.raises(InvalidBatch, match="abort_at_failure_ratio: expected"):
        BatchRules(abort_at_failure_ratio=3)


async def test_a_batch_shows_the_rules_that_are_in_force(ask: Ask) -> None:
    batch = await batch_of(
        ask,
        *(line(str(n)) for n in range(3)),
        canary=2,
        canary_ratio=0.5,
        abort_at_failure_ratio=0.25,
        abort_after=7,
        expires_after=60,
        callback_url="https://user.test/?token=secret",
        callback_at=[0.75, 0.5],
    )
    found = await ask("get_batch", batch)
    assert found.rules == ActiveRules(0.25, 7, 2, 0.5, 60.0, (0.5, 0.75))
    assert found.as_dict()["rules"]["abort_after"] == 7
    assert found.rules.words == [
        "aborts when 0.25 of the jobs that ended (7 at least) failed or are dead",
        "the first 2 jobs go alone, 0.5 of them have to complete before the others go",
        "expires 60 s after its acceptance",
        "its callback is sent at 0.5, 0.75 of its jobs, too",
    ]
    plain = await ask("get_batch", await batch_of(ask, line("a")))
    assert (plain.rules, plain.rules.words) == (ActiveRules(), [])


async def test_a_rule_that_a_person_resumed_a_batch_from_is_shown_no_more(ask: Ask) -> None:
    batch = await batch_of(ask, line("a"), line("b"), canary=1)
    await ask("resume_batch", batch)
    assert (await ask("get_batch", batch)).rules == ActiveRules()


@pytest.mark.parametrize("span", [3_600, 3_600.0, timedelta(hours=1)])
async def test_the_time_and_the_callback_of_a_batch_travel_with_it(ask: Ask, span: Any) -> None:
    url = "https://user.test/hook?token=secret"
    batch = await batch_of(
        ask, line("a"), expires_after=span, callback_url=url, callback_at=[0.5, 0.25]
    )
    found = await ask("get_batch", batch)
    assert found.expires_at - found.sealed_at == timedelta(hours=1)
    assert found.callback.endpoint == "https://user.test"
    assert "secret" not in repr(found.as_dict())
    for rules in ({"expires_after": timedelta(0)}, {"callback_at": [0.5]}):
        with pytest.raises(InvalidBatch, match=rf"{next(iter(rules))}: expected"):
            BatchRules(**rules)


@pytest.mark.parametrize("ask", ["sync", "async"], indirect=True)
async def test_nothing_is_left_of_many_jobs_of_which_one_is_refused(ask: Ask) -> None:
    jobs = [line(f"job-{n}") for n in range(1_500)]
    with pytest.raises(InvalidJob, match=r"\[1499\]"):
        await ask("enqueue_many", [*jobs[:-1], {**jobs[-1], "kind": "no kind"}])
    assert (await ask("list_jobs")).jobs == []
    assert (await ask("list_batches")).batches == []


async def test_an_upload_that_expired_says_what_to_do(ask: Ask, client: redis.Redis) -> None:
    batch = await ask("open_batch", "a file")
    await ask("enqueue_many", [line("a")], batch=batch)
    run(client, worker_calls.sweep("default", "expire_batches", -1_000_000, 100))
    assert (await ask("get_batch", batch)).status is BatchStatus.EXPIRED
    for name in ("seal_batch", "pause_batch", "resume_batch", "retry_failed"):
        with pytest.raises(BatchExpired, match="enqueue them again"):
            await ask(name, batch)
    with pytest.raises(BatchExpired, match="enqueue them again"):
        await ask("enqueue_many", [line("b")], batch=batch)
    assert (await ask("cancel_batch", batch)).jobs == 0


async def test_a_batch_is_accepted_with_as_many_jobs_as_were_submitted_or_not_at_all(
    ask: Ask,
) -> None:
    batch, other = await ask("open_batch"), await ask("open_batch")
    await ask("enqueue_many", [line("a"), line("b")], batch=batch)
    await ask("enqueue_many", [line("b")], batch=other)
    with pytest.raises(BatchMismatch, match=f"batch {batch} does not hold the 2 jobs"):
        await ask("seal_batch", batch, 2)
    assert (await ask("get_batch", batch)).status is BatchStatus.VALIDATING
    await ask("enqueue_many", [line("b")], batch=batch)
    for _ in range(2):
        assert await ask("seal_batch", batch, 2) == 2


async def test_results_come_in_the_order_of_the_upload(ask: Ask, client: redis.Redis) -> None:
    names = [f"order-{n}" for n in range(230)]
    batch = await batch_of(ask, *(line(name) for name in names))
    finish_all(client)
    found = await ask("iter_results", batch)
    jobs = [job async for job in found] if hasattr(found, "__aiter__") else list(found)
    assert [job.custom_id for job in jobs] == names
    assert {job.output for job in jobs} == {42}


async def test_results_of_no_batch(ask: Ask) -> None:
    found = await ask("iter_results", new_id("default"))
    with pytest.raises(BatchNotFound):
        [job async for job in found] if hasattr(found, "__aiter__") else list(found)


async def test_jobs_are_listed(ask: Ask, client: redis.Redis) -> None:
    await batch_of(ask, line("a"), line("b", group="shop"))
    finish_all(client)
    page = await ask("list_jobs", Filter(state="completed"), limit=1)
    more = await ask("list_jobs", Filter(state=JobState.COMPLETED), cursor=page.cursor, limit=1)
    assert {job.custom_id for job in page.jobs + more.jobs} == {"a", "b"}
    (only,) = (await ask("list_jobs", Filter("shop", state="completed"))).jobs
    assert (only.custom_id, only.result) == ("b", None)
    with pytest.raises(InvalidRequest, match="state: expected one of scheduled, "):
        await ask("list_jobs", Filter(state="nearly"))
    with pytest.raises(UnknownAccount):
        await ask("list_jobs", account="nobody")


async def test_jobs_are_listed_by_words_of_their_reason(ask: Ask, client: redis.Redis) -> None:
    await batch_of(ask, line("a"), line("b"), line("c"))
    first, second, _ = claimed(client)
    lost = [Lost(first.job_id, 1, "No such ENGINE"), Lost(second.job_id, 1, "deadline")]
    run(client, worker_calls.mark_dead("default", lost))

    for state in ("dead", None):
        (found,) = (await ask("list_jobs", Filter(state=state, reason="such engine"))).jobs
        assert (found.id, found.reason) == (first.job_id, "No such ENGINE")
    assert (await ask("list_jobs", Filter("shop", state="dead", reason="engine"))).jobs == []
    nothing: tuple[Any, ...] = ("", " ", 5)
    for none in nothing:
        with pytest.raises(InvalidRequest, match="reason: expected some text"):
            await ask("list_jobs", Filter(reason=none))


async def test_batches_are_listed(ask: Ask) -> None:
    made = [await batch_of(ask, line()) for _ in range(3)]
    page = await ask("list_batches", limit=2)
    assert [batch.id for batch in page.batches] == made[:0:-1]
    assert page.batches[0].total == 1
    page = await ask("list_batches", limit=2, cursor=page.cursor)
    assert [batch.id for batch in page.batches] == made[:1]
    assert page.cursor == ""
    for wrong in ({"limit": 0}, {"limit": 1_001}, {"cursor": "x"}):
        with pytest.raises(InvalidRequest):
            await ask("list_batches", **wrong)


async def test_a_group_is_capped_and_paused(ask: Ask) -> None:
    await batch_of(ask, line(group="shop"))
    found = await ask("set_group", "shop", max_concurrent=3)
    assert (found.max_concurrent, found.paused, found.ready) == (3, False, 1)
    found = await ask("set_group", "shop", paused=True, max_concurrent=KEEP)
    assert (found.max_concurrent, found.paused) == (3, True)
    assert await ask("groups") == [found]
    await ask("set_group", "shop", paused=False, max_concurrent=None)
    with pytest.raises(InvalidGroup, match="max_concurrent"):
        await ask("set_group", "shop", max_concurrent=0)
    with pytest.raises(UnknownAccount):
        await ask("set_group", "shop", paused=True, account="nobody")


@pytest.mark.parametrize(
    "rules",
    [
        {"canary": 2.5},
        {"canary": True},
        {"canary_ratio": "0.5"},
        {"abort_after": "5"},
        {"abort_after": None},
        {"abort_at_failure_ratio": True},
        {"expires_after": "60"},
        {"callback_url": 7},
        {"callback_at": 0.5, "callback_url": "https://a.test/"},
        {"callback_at": "half", "callback_url": "https://a.test/"},
        {"callback_at": ["half"], "callback_url": "https://a.test/"},
    ],
    ids=str,
)
def test_a_rule_of_another_type_is_named(rules: dict[str, Any]) -> None:
    with pytest.raises(InvalidBatch, match=rf"^{next(iter(rules))}: expected "):
        BatchRules(**rules)
