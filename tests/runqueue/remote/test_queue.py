"""`RemoteQueue`: the queue over HTTP, against a real gateway."""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import pytest

from lab.proxy import Network, Proxy
from runqueue import (
    BatchCanceled,
    BatchNotFound,
    BatchRules,
    Budget,
    FieldError,
    IdempotencyConflict,
    InvalidBatch,
    InvalidBudget,
    InvalidGroup,
    InvalidJob,
    InvalidKeyLimit,
    InvalidRequest,
    JobNotFound,
    JobSpec,
    JobState,
    KeyLimit,
    NotAllowed,
    QueueUnavailable,
    Retry,
    TaskRunRequest,
    UnknownAccount,
    parse_line,
)
from runqueue.ids import new_id
from runqueue.operator.decisions import Settled
from runqueue.producer.listing import Filter
from runqueue.remote.queue import RemoteQueue
from runqueue.store import worker_calls
from runqueue.store.keys import Keys
from runqueue.store.sending import run
from tests.either import TOKEN
from tests.runqueue.cli.commanding import Desk, batch_of, line, lines
from tests.runqueue.cli.gateways import READER

TASK = TaskRunRequest(prompt="Read the price.", url="https://shop.example/17")


@pytest.fixture
def remote(desk: Desk, gateway_url: str) -> Iterator[RemoteQueue]:
    """The desk's queue, over HTTP."""
    with RemoteQueue(gateway_url, TOKEN) as queue:
        yield queue


@pytest.fixture
def network() -> Iterator[Network]:
    """Where connections break."""
    with Network() as made:
        yield made


def way_to(network: Network, url: str) -> tuple[Proxy, str]:
    """Return a way to a gateway that can be broken, and its URL."""
    host, port = url.removeprefix("http://").split(":")
    proxy = network.proxy(host, int(port))
    return proxy, f"http://127.0.0.1:{proxy.port}"


def packed(count: int) -> list[bytes]:
    """Lines of a batch file."""
    return [
        b'{"custom_id":"up-%d","kind":"task","body":{"prompt":"Read."}}' % n for n in range(count)
    ]


def test_a_job_is_submitted_read_and_awaited(desk: Desk, remote: RemoteQueue) -> None:
    job = remote.enqueue(TASK, idempotency_key="order-1", priority="high", group="shop-a")
    assert job == desk.queue.enqueue(
        TASK, idempotency_key="order-1", priority="high", group="shop-a"
    )._replace(status=job.status)
    with desk.working(lambda one, jobs: one.end(jobs)):
        done = remote.wait(job.job_id, timeout=30)
    assert (done.state, done.output) == (JobState.COMPLETED, "42")
    assert done == remote.get(job.job_id) == desk.queue.get(job.job_id)


def test_every_option_arrives_as_it_was_given(desk: Desk, remote: RemoteQueue) -> None:
    options = {
        "run_at": datetime.now(UTC) + timedelta(hours=1),
        "deadline": datetime.now(UTC) + timedelta(hours=2),
        "namespace": "web",
        "on_unconfirmed": "hold",
        "retry": Retry(max_attempts=3, retry_on=("failed", "NO_PRICE")),
        "idempotency_key": "order-1",
        "metadata": {"order": "17"},
    }
    request = TaskRunRequest(prompt="ä", error_code_mapping={"NO_PRICE": "no price"})
    first = remote.enqueue(request, **options)  # type: ignore[arg-type]
    assert desk.queue.enqueue(request, **options).job_id == first.job_id  # type: ignore[arg-type]
    job = desk.queue.get(first.job_id)
    assert (job.run_at, job.deadline) == (options["run_at"], options["deadline"])
    assert (job.namespace, job.on_unconfirmed) == ("web", "hold")
    assert job.metadata == remote.get(first.job_id).metadata == {"order": "17"}
    later = remote.enqueue(TASK, delay=60, deadline=timedelta(hours=1))
    assert later.state is JobState.SCHEDULED


def test_many_jobs_are_answered_in_order(remote: RemoteQueue) -> None:
    answers = remote.enqueue_many([TASK, *lines(999)])
    assert [answer.custom_id for answer in answers][:2] == [None, "order-0"]
    assert len(answers) == 1000
    assert remote.enqueue_many([]) == []
    again = remote.enqueue_many([line("order-0", prompt="Another.")])
    assert again[0].status == "conflict"


def test_wrong_fields_are_named_as_everywhere(remote: RemoteQueue) -> None:
    with pytest.raises(InvalidJob, match=r"\[1\].body.max_step: unknown field"):
        remote.enqueue_many([line("a"), {"kind": "task", "body": {"prompt": "x", "max_step": 1}}])
    most = "jobs: expected at most 1,000 jobs of 4 MiB in all; upload takes any number"
    with pytest.raises(InvalidJob, match=most):
        remote.enqueue_many(lines(1_001))
    with pytest.raises(InvalidJob, match=most):
        remote.enqueue_many([line(str(n), prompt="x" * 900_000) for n in range(5)])
    with pytest.raises(InvalidGroup, match="group: expected 1 to 32"):
        remote.set_group("../x", paused=True)
    with pytest.raises(InvalidGroup, match="max_concurrent"):
        remote.set_group("a", max_concurrent=0)
    with pytest.raises(InvalidRequest, match="limit"):
        remote.list_jobs(limit=5000)


def test_what_is_not_on_record_or_known_has_its_error(remote: RemoteQueue) -> None:
    for job_id in ("nonsense", "../batches", new_id("default")):
        with pytest.raises(JobNotFound):
            remote.get(job_id)
        with pytest.raises(JobNotFound):
            remote.cancel(job_id)
        with pytest.raises(BatchNotFound):
            remote.get_batch(job_id)
        with pytest.raises(BatchNotFound):
            list(remote.iter_results(job_id))
        assert remote.replay([job_id]) == {job_id: Settled.NO_SUCH_JOB}
    assert remote.get_many(["nonsense", new_id("default")]) == [None, None]
    with pytest.raises(UnknownAccount, match="'nobody'"):
        remote.groups("nobody")
    remote.enqueue(TASK, idempotency_key="order-1")
    with pytest.raises(IdempotencyConflict) as used:
        remote.enqueue(TaskRunRequest(prompt="Another."), idempotency_key="order-1")
    assert used.value.key == "order-1"
    assert remote.get(used.value.job_id).custom_id == "order-1"


def test_lists_name_what_they_left_out_as_it_cannot_be_read(
    desk: Desk, remote: RemoteQueue
) -> None:
    batch, other = batch_of(desk, *lines(3)), batch_of(desk, line("x"))
    bad = desk.queue.list_jobs(Filter(batch=batch)).jobs[1].id
    for name in (f"job:{bad}", f"batch:{other}"):
        desk.client.hset(f"{Keys('default').prefix}{name}", "created", "yesterday")

    jobs, batches = remote.list_jobs(Filter(batch=batch)), remote.list_batches()

    assert (len(jobs.jobs), jobs.unread) == (2, (bad,))
    assert ([one.id for one in batches.batches], batches.unread) == ([batch], (other,))
    assert (jobs, batches) == (desk.queue.list_jobs(Filter(batch=batch)), desk.queue.list_batches())


def test_a_batch_is_read_and_handled(desk: Desk, remote: RemoteQueue) -> None:
    batch = batch_of(desk, *lines(3))
    assert remote.get_batch(batch) == desk.queue.get_batch(batch)
    assert remote.pause_batch(batch).held == "paused"
    assert remote.resume_batch(batch).held is None
    jobs = desk.claim()
    desk.end(jobs[:1])
    desk.end(jobs[1:], "failed")
    assert [job.as_row() for job in remote.iter_results(batch)] == [
        job.as_row() for job in desk.queue.iter_results(batch)
    ]
    assert [job.state for job in remote.iter_results(batch, errors=True)] == ["failed", "failed"]
    assert (
        remote.list_jobs(Filter(batch=batch)).jobs == desk.queue.list_jobs(Filter(batch=batch)).jobs
    )
    assert remote.list_jobs(Filter(batch=batch, reason="no such")).jobs == []
    assert remote.replay([jobs[1].job_id, jobs[0].job_id]) == {
        jobs[1].job_id: Settled.DONE,
        jobs[0].job_id: Settled.NOT_ENDED_BADLY,
    }
    assert remote.retry_failed(batch).jobs == 1
    assert remote.cancel_batch(batch).jobs == 3
    with pytest.raises(BatchCanceled):
        remote.resume_batch(batch)
    run(desk.client, worker_calls.sweep("default", "sweep_canceled", 100))
    assert remote.replay([jobs[1].job_id]) == {jobs[1].job_id: Settled.BATCH_CANCELED}


def test_budgets_are_the_same(desk: Desk, remote: RemoteQueue) -> None:
    remote.enqueue(TASK, keys=["customer:acme"])
    budget = Budget(500, "day", "Europe/Berlin", is_strict=False, expected=4)
    assert remote.set_budget("key:customer:*", budget) is False
    assert remote.set_budget("account", Budget(9_000, is_strict=True)) is False
    assert remote.list_budgets() == desk.queue.list_budgets()
    assert {use.scope for use in remote.list_budgets()} == {"key:customer:*", "account"}
    assert remote.set_budget("account", None) is True
    with pytest.raises(InvalidBudget, match="scope: expected account"):
        remote.set_budget("../groups", None)


def test_keys_and_their_limits_are_the_same(desk: Desk, remote: RemoteQueue) -> None:
    job = remote.enqueue(TASK, keys=["site:a"])
    assert "site:a" in job.get().keys
    assert remote.set_key_limit("site:a", KeyLimit(2, 0.5, "minute")) is False
    assert remote.set_key_limit("site:*", KeyLimit()) is False
    assert remote.list_keys() == desk.queue.list_keys()
    assert [(use.key, use.max_concurrent, use.interval_seconds) for use in remote.list_keys()] == [
        ("site:a", 2, 120.0),
        ("site:*", None, None),
    ]
    assert remote.set_key_limit("site:a", None) is True
    with pytest.raises(InvalidKeyLimit, match="key: expected text such as"):
        remote.set_key_limit("../groups", None)


def test_groups_figures_and_audits_are_the_same(desk: Desk, remote: RemoteQueue) -> None:
    remote.enqueue(TASK, group="shop-a")
    set_to = remote.set_group("shop-a", max_concurrent=2, paused=True)
    assert [set_to] == remote.groups() == desk.queue.groups()
    assert remote.set_group("shop-a", max_concurrent=None).max_concurrent is None
    assert [one.target for one in remote.audit()] == ["shop-a", "shop-a"]
    assert (remote.audit(), remote.workers()) == (desk.queue.audit(), desk.queue.workers())
    here, there = remote.stats()["default"].as_dict(), desk.queue.stats()["default"].as_dict()
    moving = {"oldest_ready_seconds"}
    assert {k: v for k, v in here.items() if k not in moving} == {
        k: v for k, v in there.items() if k not in moving
    }


def test_a_wait_that_is_too_long_is_told(desk: Desk, remote: RemoteQueue) -> None:
    job = remote.enqueue(TASK)
    with pytest.raises(TimeoutError, match="is still ready"):
        remote.wait(job.job_id, timeout=0.1)


# Uploads.


def test_lines_are_uploaded(desk: Desk, remote: RemoteQueue) -> None:
    done = remote.upload(iter(packed(3000)), name="prices", namespace="web")
    assert (done.new, done.known, done.is_new, done.errors) == (3000, 0, True, [])
    assert desk.queue.get_batch(done.batch_id or "").name == "prices"
    again = remote.upload(packed(3000), namespace="web")
    assert (again.new, again.known, again.is_new) == (0, 3000, False)
    assert again.batch_id == done.batch_id


def test_an_upload_takes_what_enqueue_many_takes(desk: Desk, remote: RemoteQueue) -> None:
    body = {"prompt": "Read the price."}
    trace = f"00-{'1' * 32}-{'2' * 16}-01"
    later = datetime(2040, 1, 2, 3, 4, 5, tzinfo=UTC)
    jobs: list[Any] = [
        TaskRunRequest(prompt="Read the price."),
        JobSpec.of(TaskRunRequest(prompt="Read the price."), idempotency_key="spec"),
        {"custom_id": "object", "kind": "task", "body": body, "run_at": later},
        MappingProxyType({"custom_id": "proxy", "kind": "task", "body": MappingProxyType(body)}),
        {"custom_id": "delta", "kind": "task", "body": body, "delay": timedelta(hours=1)},
        json.dumps({"custom_id": "text", "kind": "task", "body": body}),
        json.dumps({"custom_id": "pretty", "kind": "task", "body": body}, indent=2),
        json.dumps({"custom_id": "bytes", "kind": "task", "body": body}).encode() + b"\n",
        parse_line({"custom_id": "traced", "kind": "task", "body": body, "traceparent": trace}),
    ]
    done = remote.upload(jobs, namespace="web")
    assert (done.new, done.invalid) == (9, 0)

    found = desk.queue.list_jobs(Filter(batch=done.batch_id)).jobs
    assert [job.custom_id for job in found] == [
        *(None, "spec", "object", "proxy", "delta", "text", "pretty", "bytes", "traced")
    ]
    assert {job.namespace for job in found} == {"web"}
    assert found[2].run_at == later
    assert found[-1].traceparent == trace
    assert remote.upload(jobs[1:], namespace="web").known == 8


def test_a_request_object_goes_to_the_account_of_the_upload(
    desk: Desk, remote: RemoteQueue
) -> None:
    desk.know("acme")
    done = remote.upload([TaskRunRequest(prompt="Read the price.")], account="acme")
    assert [job.account for job in desk.queue.list_jobs(account="acme").jobs] == ["acme"]
    assert done.new == 1


GOOD: dict[str, Any] = {"kind": "task", "body": {"prompt": "Read the price."}}


@pytest.mark.parametrize("bad", [{"kind": "task", "body": {}}, "\ud83d", "nonsense", "{}\n{}"])
def test_an_object_or_text_that_is_no_job_is_named_by_its_line_or_skipped(
    remote: RemoteQueue, bad: Any
) -> None:
    with pytest.raises(InvalidJob) as refused:
        remote.upload([GOOD, bad])
    assert refused.value.errors[0].field.startswith("line 2")
    done = remote.upload([GOOD, bad], skip_invalid=True)
    assert (done.new, done.invalid) == (1, 1)


@pytest.mark.parametrize("bad", [{**GOOD, "group": {1, 2}}, 7])
def test_what_json_cannot_carry_ends_an_upload(remote: RemoteQueue, bad: Any) -> None:
    for skips in (False, True):
        with pytest.raises(InvalidJob) as refused:
            remote.upload([GOOD, bad], skip_invalid=skips)
        assert refused.value.errors[0].field.startswith("line 2: ")


def test_bad_lines_are_named_or_skipped(remote: RemoteQueue) -> None:
    bad = [*packed(2), b'{"kind": "task"}\n']
    with pytest.raises(InvalidJob) as refused:
        remote.upload(bad)
    assert "line 3: body" in [error.field for error in refused.value.errors]
    done = remote.upload(bad, skip_invalid=True)
    assert (done.new, done.invalid) == (2, 1)
    assert all(isinstance(error, FieldError) for error in done.errors)
    changed = remote.upload([b'{"custom_id":"up-0","kind":"task","body":{"prompt":"No."}}'])
    assert (changed.conflict, changed.conflicts[0].custom_id) == (1, "up-0")


def test_metadata_of_a_batch_reaches_the_gateway_however_it_is_opened(remote: RemoteQueue) -> None:
    given = {"customer": "büro & co", "sum": "1+1=2", "none": ""}
    opened = remote.open_batch(metadata=given)
    uploaded = remote.upload(packed(3), metadata=given).batch_id or ""
    assert [remote.get_batch(batch).metadata for batch in (opened, uploaded)] == [given, given]


def test_rules_reach_the_gateway_or_are_refused(desk: Desk, remote: RemoteQueue) -> None:
    rules = BatchRules(canary=1, canary_ratio=1.0)
    try:
        done = remote.upload(packed(3), rules=rules)
    except InvalidBatch:  # a gateway that knows none
        assert desk.queue.list_batches().batches == []
    else:
        assert desk.queue.get_batch(done.batch_id or "").held == "canary"


class Lines:
    """Lines without names, on whose first way the connection breaks."""

    def __init__(self, proxy: Proxy, count: int) -> None:
        self.proxy, self.count, self.ways = proxy, count, 0

    def __iter__(self) -> Iterator[bytes]:
        self.ways += 1
        for number in range(self.count):
            if self.ways == 1 and number == self.count // 2:
                self.proxy.cut()
                while self.proxy.links:
                    time.sleep(0.001)
            yield b'{"kind":"task","body":{"prompt":"%s"}}' % os.urandom(500).hex().encode()


def test_an_upload_that_breaks_off_is_sent_again(
    desk: Desk, gateway_url: str, network: Network
) -> None:
    proxy, url = way_to(network, gateway_url)
    lines = Lines(proxy, 3000)
    with RemoteQueue(url, TOKEN) as remote:
        assert remote.upload(lines).new == 3000
        assert lines.ways == 2
    assert [batch.total for batch in desk.queue.list_batches().batches if batch.sealed] == [3000]


def test_an_upload_of_a_generator_that_breaks_off_is_no_batch(
    desk: Desk, gateway_url: str, network: Network
) -> None:
    proxy, url = way_to(network, gateway_url)
    with RemoteQueue(url, TOKEN) as remote, pytest.raises(QueueUnavailable):
        remote.upload(iter(Lines(proxy, 3000)))
    assert [batch for batch in desk.queue.list_batches().batches if batch.sealed] == []


def lost_answer(proxy: Proxy, what: bytes) -> None:
    """Have the answer to the next call that has these bytes lost."""
    trap = proxy.trap("up", what, reply=True)
    trap.act = lambda: proxy._network.soon(trap.drop)


@pytest.mark.parametrize("named", [True, False])
def test_a_lost_answer_repeats_what_has_custom_ids_alone(
    desk: Desk, gateway_url: str, network: Network, named: bool
) -> None:
    proxy, url = way_to(network, gateway_url)
    jobs = packed(3) if named else [b'{"kind":"task","body":{"prompt":"Read."}}'] * 3
    lost_answer(proxy, b"POST /v1/batches")
    with RemoteQueue(url, TOKEN) as remote:
        if named:
            assert remote.upload(jobs).new + remote.upload(jobs).known >= 3
        else:
            with pytest.raises(QueueUnavailable, match="may be accepted; check"):
                remote.upload(jobs)
    assert desk.states() == {"ready": 3}


def test_a_job_without_a_key_is_not_submitted_twice(
    desk: Desk, gateway_url: str, network: Network
) -> None:
    proxy, url = way_to(network, gateway_url)
    with RemoteQueue(url, TOKEN) as remote:
        lost_answer(proxy, b"POST /v1/jobs")
        with pytest.raises(QueueUnavailable):
            remote.enqueue(TASK)
        lost_answer(proxy, b"POST /v1/jobs")
        assert remote.enqueue(TASK, idempotency_key="order-1").status in {"new", "known"}
    assert desk.states() == {"ready": 2}


# Who may ask, and where.


def test_an_unknown_token_is_told_and_not_shown(gateway_url: str) -> None:
    secret = "a-token-that-nobody-knows"
    with RemoteQueue(gateway_url, secret) as remote:
        assert secret not in repr(remote)
        assert secret not in repr(vars(remote))
        with pytest.raises(NotAllowed, match="does not know the token") as refused:
            remote.stats()
        text = "".join(traceback.format_exception(refused.value))
        assert secret not in text + repr(refused.value)
        assert refused.value.status == 401
    with RemoteQueue(gateway_url, "") as remote, pytest.raises(NotAllowed, match="RUNQUEUE_TOKEN"):
        remote.stats()


def test_a_token_without_the_scope_is_told(gateway_url: str, desk: Desk) -> None:
    with RemoteQueue(gateway_url, READER) as remote:
        remote.stats()
        with pytest.raises(NotAllowed, match="reader has not the scope enqueue") as refused:
            remote.enqueue(TASK)
        assert refused.value.status == 403


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "url: expected the gateway's"),
        ("redis://localhost", r"expected http\(s\)"),
        ("https://", r"expected http\(s\)"),
        ("https://a b", r"expected http\(s\)"),
        ("https://user:pass@host", "expected no user name or password"),
        ("https://host/?token=x", "expected no query"),
        ("http://queue.example.com", "expected https"),
    ],
)
def test_a_url_that_is_none_or_would_tell_the_token_is_refused(
    url: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RUNQUEUE_URL", raising=False)
    with pytest.raises(InvalidRequest, match=words) as refused:
        RemoteQueue(url, "secret-0123")
    assert "secret" not in str(refused.value)
    assert "pass" not in str(refused.value).replace("password", "")


def test_a_token_over_http_is_warned_of_where_it_is_insisted_on() -> None:
    with pytest.warns(UserWarning, match="anybody on the way reads it"):
        RemoteQueue("http://queue.example.com", "secret", allow_http=True).close()
    with pytest.raises(InvalidRequest, match="token: expected printable ASCII"):
        RemoteQueue("https://queue.example.com", "of two words")
