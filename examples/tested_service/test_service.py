"""Tests of the service: a real queue, a worker's logic, and a Skyvern that does as it is told."""

import pytest
from service import app

PAGE = {"order": "o-1", "shop": "shop-a", "url": "https://shop.example/1"}


def watch(service, **changed):
    """Have a page watched; returns the job's id."""
    answer = service.post("/pages", json={**PAGE, **changed})
    assert answer.status_code == 202
    return answer.json()["job"]


def state_of(service, job_id):
    return service.get(f"/jobs/{job_id}").json()["state"]


def test_a_page_is_enqueued_in_its_shops_group(service, queue):
    watch(service)
    found = queue.assert_enqueued(kind="task", group="shop-a", body={"url": PAGE["url"]})
    assert found.job.custom_id == "o-1"


def test_an_urgent_page_is_urgent(service, queue):
    watch(service, is_urgent=True)
    assert queue.assert_enqueued(group="shop-a").job.priority.name == "URGENT"


def test_a_page_that_is_asked_for_twice_is_read_once(service, queue, skyvern):
    assert watch(service) == watch(service)
    queue.drain()
    assert len(skyvern.submissions) == 1


def test_an_order_of_another_page_is_a_conflict(service):
    watch(service)
    assert service.post("/pages", json={**PAGE, "url": "https://b.example"}).status_code == 409


def test_a_wrong_page_is_refused(service, queue):
    answer = service.post("/pages", json={**PAGE, "url": "no URL"})
    assert answer.status_code == 422
    assert "url" in answer.json()["detail"]
    assert queue.enqueued() == []


def test_a_price_comes(service, queue, skyvern):
    skyvern.on(prompt="Read the price.").completes({"price": 3})
    job_id = watch(service)
    queue.drain()
    assert service.get(f"/jobs/{job_id}").json()["output"] == {"price": 3}


@pytest.mark.parametrize("shop", ["shop-a", "shop-b", "shop-c"])
def test_each_shop_has_its_outcome(shop, service, queue, skyvern):
    for number, name in enumerate(("shop-a", "shop-b", "shop-c")):
        skyvern.on(group=name).completes(number)
    job_id = watch(service, shop=shop)
    queue.drain()
    assert service.get(f"/jobs/{job_id}").json()["output"] == "abc".index(shop[-1])


def test_what_skyvern_is_sent(service, queue, skyvern):
    job_id = watch(service)
    queue.drain()
    (sent,) = skyvern.submissions
    assert (sent.job_id, sent.path, sent.body["url"]) == (job_id, "/v1/run/tasks", PAGE["url"])


def test_the_result_is_delivered_signed(service, queue):
    job_id = watch(service)
    queue.drain()
    assert app.state.prices == {job_id: "completed"}
    assert queue.get(job_id).webhook.state == "delivered"


@pytest.mark.parametrize("signature", ["0" * 64, b"\xe9"])
def test_a_webhook_with_another_signature_is_refused(signature, service):
    answer = service.post("/hooks/prices", json={}, headers={"x-skyvern-signature": signature})
    assert answer.status_code == 401


def test_a_result_that_is_not_taken_comes_again(service, queue, skyvern, monkeypatch):
    monkeypatch.setenv("SKYVERN_API_KEY", "another")
    job_id = watch(service)
    queue.drain()
    assert queue.get(job_id).webhook.state == "pending"
    monkeypatch.setenv("SKYVERN_API_KEY", skyvern.api_key)
    queue.drain()
    assert app.state.prices == {}  # it is not due yet
    queue.advance(seconds=10)
    queue.drain()
    assert app.state.prices == {job_id: "completed"}


def test_an_error_of_the_receiver_ends_the_drain(service, queue, monkeypatch):
    monkeypatch.delenv("SKYVERN_API_KEY")
    watch(service)
    with pytest.raises(KeyError, match="SKYVERN_API_KEY"):
        queue.drain()


def test_a_run_that_fails_is_made_again(service, queue, skyvern):
    skyvern.on(group="shop-a").fails("the shop is down").completes({"price": 3})
    job_id = watch(service)
    queue.drain()
    assert state_of(service, job_id) == "scheduled"
    queue.advance(minutes=2)
    queue.drain()
    assert service.get(f"/jobs/{job_id}").json()["output"] == {"price": 3}
    assert app.state.prices == {job_id: "completed"}  # the failure was not reported


def test_after_three_runs_it_is_given_up(service, queue, skyvern):
    skyvern.on().fails("the shop is down")
    job_id = watch(service)
    for _ in range(4):
        queue.drain()
        queue.advance(hours=1)
    assert service.get(f"/jobs/{job_id}").json()["why"] == "the shop is down"
    assert app.state.prices == {job_id: "failed"}
    assert len(skyvern.submissions) == 3


@pytest.mark.parametrize("status", ["failed", "timed_out", "terminated"])
def test_only_some_ends_are_tried_again(status, service, queue, skyvern):
    skyvern.on().fails(status=status)
    job_id = watch(service)
    queue.drain()
    expected = "failed" if status == "terminated" else "scheduled"
    assert state_of(service, job_id) == expected


def test_a_lost_answer_makes_no_second_run(service, queue, skyvern):
    skyvern.on(group="shop-a").loses_the_answer({"price": 3})
    job_id = watch(service)
    queue.drain()
    assert service.get(f"/jobs/{job_id}").json()["output"] == {"price": 3}
    assert len(skyvern.submissions) == 1


def test_a_submission_that_never_arrived_is_repeated_once_that_is_proved(service, queue, skyvern):
    skyvern.on(group="shop-a").loses_the_answer(makes_a_run=False).completes({"price": 3})
    job_id = watch(service)
    queue.drain()
    assert state_of(service, job_id) == "unconfirmed"  # no newer run shows that it would be seen
    watch(service, order="o-2", shop="shop-b")
    queue.drain()
    assert service.get(f"/jobs/{job_id}").json()["output"] == {"price": 3}


def test_a_purchase_whose_answer_is_lost_is_a_persons_to_decide(service, queue, skyvern):
    skyvern.on(kind="workflow").loses_the_answer(makes_a_run=False)
    job_id = service.post("/checkout/o-1").json()["job"]
    queue.drain()
    queue.advance(days=1)
    queue.drain()
    assert state_of(service, job_id) == "unconfirmed"
    assert len(skyvern.submissions) == 1


def test_a_purchase_carries_its_order(service, queue):
    service.post("/checkout/o-7")
    queue.assert_enqueued(kind="workflow", body={"parameters": {"order": "o-7"}})


def test_a_limited_submission_goes_later(service, queue, skyvern):
    skyvern.on().refuses(429, retry_after=30).completes()
    job_id = watch(service)
    queue.drain()
    assert state_of(service, job_id) == "completed"
    assert len(skyvern.submissions) == 2


def test_a_refused_request_is_dead(service, queue, skyvern):
    skyvern.on().refuses(422, "the page is blocked")
    job_id = watch(service)
    queue.drain()
    shown = service.get(f"/jobs/{job_id}").json()
    assert shown["state"] == "dead"
    assert "the page is blocked" in shown["why"]


def test_the_night_begins_in_six_hours(service, queue):
    service.post("/shops/shop-a/nightly", json=[f"https://shop.example/{n}" for n in range(20)])
    queue.drain()
    assert {found.job.state for found in queue.enqueued()} == {"scheduled"}
    queue.advance(hours=6)
    queue.drain()
    assert {found.job.state for found in queue.enqueued()} == {"completed"}


def test_a_job_that_waits_is_canceled(service, queue):
    job_id = watch(service)
    service.delete(f"/jobs/{job_id}")
    queue.drain()
    assert state_of(service, job_id) == "canceled"


def test_a_run_that_never_ends_is_canceled(service, queue, skyvern):
    skyvern.on().never_ends()
    job_id = watch(service)
    queue.drain()
    assert state_of(service, job_id) == "running"
    service.delete(f"/jobs/{job_id}")
    queue.drain()
    assert state_of(service, job_id) == "canceled"


def test_a_page_that_is_late_is_not_read(service, queue, skyvern):
    job_id = watch(service)
    queue.advance(days=2)
    queue.drain()
    assert state_of(service, job_id) == "dead"
    assert skyvern.submissions == []


def test_a_job_that_does_not_exist_is_not_found(service):
    assert service.get("/jobs/none").status_code == 404


@pytest.mark.asyncio
async def test_coroutines_have_the_same_queue(async_queue, skyvern):
    skyvern.on(group="shop-a").completes(5)
    line = {"kind": "task", "group": "shop-a", "body": {"prompt": "Read."}}
    (answer,) = await async_queue.enqueue_many([line])
    await async_queue.assert_enqueued(body={"prompt": "Read."})
    await async_queue.drain()
    assert (await async_queue.get(answer.job_id)).output == 5
