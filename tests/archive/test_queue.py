"""A queue with an archive: the same answers blocking, for coroutines, and over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from archive.opened import AsyncOpenArchive
from archive.queue import ArchivedQueue
from gateway.tenants.scope import SomeOfQueue
from runqueue import RunQueue
from runqueue.errors import (
    ArchiveUnavailable,
    BatchNotFound,
    InvalidRequest,
    JobNotFound,
    UnknownAccount,
)
from runqueue.operator.decisions import Settled
from runqueue.producer.listing import Filter
from runqueue.records.job import Job, JobState
from runqueue.store import codec
from runqueue.store.keys import ACCOUNTS
from tests.archive import surfaces
from tests.archive.surfaces import SHOP, Archived, Asked
from tests.runqueue.cli.commanding import Desk, line
from tests.runqueue.cli.delivering import abandoned, told

METADATA = {"order": "17"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The archive's."""
    return f"sqlite:///{tmp_path_factory.mktemp('archive')}/archive.sqlite"


@pytest.fixture
def desk(redis_url: str, client: redis.Redis, queue: RunQueue, tmp_path: Path) -> Desk:
    """Where jobs are submitted, claimed and ended by hand."""
    return Desk(redis_url, tmp_path, client, queue)


@pytest.fixture(params=["sync", "async", "gateway"])
def asked(
    request: pytest.FixtureRequest, archived: Archived, redis_url: str, gateway_url: str
) -> Iterator[Asked]:
    """Each queue."""
    queue = Asked(surfaces.opened(request.param, redis_url, archived.url, gateway_url))
    yield queue
    queue.end()


def ended(desk: Desk, *rows: dict[str, Any], state: str = "completed") -> list[str]:
    """Have jobs end."""
    ids = [answer.job_id for answer in desk.queue.enqueue_many(rows)]
    desk.end(desk.claim(), state)
    return ids


@pytest.fixture
def jobs(desk: Desk, archived: Archived) -> dict[str, str]:
    """Jobs by what became of them: the archive has all but the open one; Redis has not `gone`."""
    rows = {
        "gone": line("gone", prompt="Pay invoice 4711", group="acme", metadata=METADATA),
        "only": line("only", prompt="Pay invoice 4712", keys=["site:acme"], group="acme"),
    }
    (gone,) = ended(desk, rows["gone"])
    (only,) = ended(desk, rows["only"], state="failed")
    (dead,) = desk.dead([line("dead", prompt="Cancel it")], "No such engine 7")
    archived.write(gone, only, dead)
    archived.forget(gone)
    archived.only(only)
    (waiting,) = [answer.job_id for answer in desk.queue.enqueue_many([line("open")])]
    return {"gone": gone, "only": only, "dead": dead, "open": waiting}


def names(found: list[Job]) -> list[str | None]:
    """The custom_ids of jobs."""
    return [job.custom_id for job in found]


def test_what_has_left_redis_is_read_in_the_archive(asked: Asked, jobs: dict[str, str]) -> None:
    gone, only = asked.get(jobs["gone"]), asked.get(jobs["only"])
    assert (gone.output, gone.metadata, gone.state) == ("42", METADATA, JobState.COMPLETED)
    assert (only.output, only.keys, only.state) == ("42", ("site:acme",), JobState.FAILED)
    found = asked.get_many([jobs["open"], gone.id, "nma3otfnxlrcktlsz4d7qmri"], result=False)
    assert [job and (job.custom_id, job.result) for job in found] == [
        ("open", None),
        ("gone", None),
        None,
    ]
    states = asked.states([gone.id, jobs["open"], only.id])
    assert [state for state, _ in states] == ["completed", "ready", "failed"]
    for job in (gone, only):
        assert asked.timeline(job.id)["request"]["prompt"].startswith("Pay invoice")
    assert asked.wait(gone.id, 5).output == "42"
    with pytest.raises(JobNotFound):
        asked.get("nma3otfnxlrcktlsz4d7qmri")


@pytest.mark.parametrize(
    ("wanted", "lacks"),
    [
        (Filter(), True),
        (Filter(state="dead"), True),
        (Filter(state="failed", since=datetime.now(UTC) - timedelta(2)), True),
        (Filter(state="failed", since=datetime.now(UTC) - timedelta(hours=20)), False),
        (Filter(custom_id="gone"), True),
        (Filter(custom_id="only"), False),
        (Filter(state="ready"), False),
        (Filter(is_open=True), False),
        (Filter(webhook="abandoned"), False),
    ],
)
def test_a_queue_that_does_not_know_the_archive_says_what_lists_lack(
    desk: Desk, jobs: dict[str, str], redis_url: str, wanted: Filter, *, lacks: bool
) -> None:
    with ArchivedQueue(redis_url) as gateways:
        for queue in (desk.queue, gateways):
            assert queue.list_jobs(wanted).lacks_archive is lacks
    desk.client.delete("runqueue:{default}:archive")
    assert not desk.queue.list_jobs(wanted).lacks_archive


def test_without_a_state_jobs_have_ended_and_come_the_newest_end_first(
    asked: Asked, jobs: dict[str, str]
) -> None:
    pages = asked.job_pages(account="default")
    assert names([job for page in pages for job in page.jobs]) == ["dead", "only", "gone"]
    first = asked.list_jobs(limit=1)
    second = asked.list_jobs(cursor=first.cursor, limit=2)
    found = [names(page.jobs) for page in (first, second)]
    assert (found, second.cursor) == ([["dead"], ["only", "gone"]], "")


def test_open_jobs_are_found_in_redis_by_metadata_and_times_too(asked: Asked, desk: Desk) -> None:
    (answer,) = desk.queue.enqueue_many([line("a", metadata=METADATA)])
    at = asked.get(answer.job_id).created_at
    for chosen in (Filter(is_open=True), Filter(state="ready")):
        for values in ({"metadata": METADATA}, {"since": at}, {"until": at + timedelta(1)}):
            wanted = chosen._replace(**values)
            assert names(asked.list_jobs(wanted).jobs) == ["a"], wanted
            assert tuple(asked.count_jobs(wanted)) == (1, True)
        assert names(asked.list_jobs(chosen._replace(until=at)).jobs) == []


def test_a_replayed_job_is_in_no_list_of_ended_ones(asked: Asked, jobs: dict[str, str]) -> None:
    assert asked.replay([jobs["dead"]]) == {jobs["dead"]: Settled.DONE}
    assert names(asked.list_jobs().jobs) == ["only", "gone"]
    assert names(asked.list_jobs(Filter(state="dead")).jobs) == []
    assert names(asked.list_jobs(Filter(custom_id="dead", state="dead")).jobs) == []
    assert names(asked.iter_results(None, Filter())) == ["only", "gone"]


def test_webhooks_are_as_redis_has_them(asked: Asked, desk: Desk, archived: Archived) -> None:
    here, gone = abandoned(desk, told("here"), told("gone"))
    archived.write(here, gone)
    archived.forget(gone)
    wanted = Filter(webhook="abandoned")
    assert {*names(asked.iter_results(None, wanted))} == {"here", "gone"}
    assert asked.confirm_delivery([here]) == {here: Settled.DONE}
    assert names(asked.iter_results(None, wanted)) == ["gone"]
    assert names(asked.list_jobs(wanted._replace(text="here")).jobs) == []


def test_a_batch_of_redis_is_in_its_order(asked: Asked, desk: Desk, archived: Archived) -> None:
    batch = desk.queue.open_batch("b")
    desk.queue.enqueue_many([line(name) for name in "abc"], batch=batch)
    desk.end(desk.claim()[:2])
    assert names(asked.list_jobs(Filter(batch=batch)).jobs) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Filter(state="failed"), ["only"]),
        (Filter(state="ready"), ["open"]),
        (Filter(is_open=True), ["open"]),
        (Filter(group="acme"), ["only", "gone"]),
        (Filter(text="invoice 47"), ["only", "gone"]),
        (Filter(text="INVOICE 4711"), ["gone"]),
        (Filter(text="4711", group="other"), []),
        (Filter(metadata=METADATA), ["gone"]),
        (Filter(metadata=METADATA, state="failed"), []),
        (Filter(custom_id="gone"), ["gone"]),
        (Filter(custom_id="open"), ["open"]),
        (Filter(reason="engine"), ["dead"]),
        (Filter(workflow="wpid_1"), []),
    ],
)
def test_a_filter_finds_the_same_everywhere(
    asked: Asked, jobs: dict[str, str], wanted: Filter, expected: list[str]
) -> None:
    found = [job for page in asked.job_pages(wanted, account="default") for job in page.jobs]
    assert names(found) == expected
    assert tuple(asked.count_jobs(wanted)) == (len(expected), True)


def test_times_are_those_of_the_ends(asked: Asked, jobs: dict[str, str]) -> None:
    at = asked.get(jobs["only"]).ended_at
    assert names(asked.list_jobs(Filter(since=at)).jobs) == ["dead", "only"]
    assert names(asked.list_jobs(Filter(until=at)).jobs) == ["gone"]


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("text", {"text": "%' OR 1=1 --", "is_open": True}),
        ("text", {"text": "_%'"}),
        ("text", {"text": "x" * 501}),
        ("text", {"text": "a", "state": "running"}),
        ("metadata", {"metadata": {"a b": "x"}}),
        ("metadata", {"metadata": {f"n{n}": "x" for n in range(21)}}),
        ("error", {"error": "1 OR 1=1"}),
        ("error", {"error": str(2**63)}),
    ],
)
def test_a_filter_that_is_none_names_its_field(
    asked: Asked, jobs: dict[str, str], field: str, values: dict[str, Any]
) -> None:
    for ask in (asked.list_jobs, asked.count_jobs):
        with pytest.raises(InvalidRequest) as caught:
            ask(Filter(**values))
        assert [error.field for error in caught.value.errors] == [field]


@pytest.mark.parametrize("text", ["invoice' OR '1'='1", "invoice NEAR/2 x", "OR 47"])
def test_words_of_a_query_language_are_plain_words(
    asked: Asked, jobs: dict[str, str], text: str
) -> None:
    assert asked.list_jobs(Filter(text=text)).jobs == []


@pytest.mark.parametrize("cursor", ["archive-x", "archive-99999999999999999999", "archive-1;", "x"])
def test_a_cursor_that_is_none_is_refused(asked: Asked, jobs: dict[str, str], cursor: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        asked.list_jobs(Filter(state="failed"), cursor=cursor)
    assert [error.field for error in caught.value.errors] == ["cursor"]


def test_failures_are_grouped_and_a_group_has_its_jobs(asked: Asked, jobs: dict[str, str]) -> None:
    found = asked.list_errors(Filter(group="default"))
    (group,) = found.groups
    assert (group.words, group.jobs) == ("No such engine <n>", 1)
    assert {*group.examples} == {jobs["dead"]}
    assert (found.failures, found.is_all, group.share_of_failures) == (1, True, 1.0)
    assert names(asked.list_jobs(Filter(error=group.id)).jobs) == ["dead"]
    assert sum(group.jobs for group in asked.list_errors(limit=1).groups) == 1
    assert asked.list_errors(Filter(is_open=True)).groups == []


def test_a_chart_sums_up_what_ended(asked: Asked, jobs: dict[str, str]) -> None:
    chart = asked.chart()
    total = {state: sum(one.jobs.get(state, 0) for one in chart.points) for state in JobState}
    assert {state.value: n for state, n in total.items() if n} == {
        "completed": 1,
        "failed": 1,
        "dead": 1,
    }
    assert chart.total.jobs == {"completed": 1, "failed": 1, "dead": 1}
    assert [one.is_partial for one in chart.points[-2:]] == [False, True], "today is not over"
    assert chart.total.failure_share == pytest.approx(2 / 3)
    of_group = asked.chart(Filter(group="acme")).points
    assert sum(sum(one.jobs.values()) for one in of_group) == 2
    assert any(one.running is not None and one.running.p95 >= 0 for one in of_group)
    for wrong in (Filter(group="a", workflow="b"), Filter(state="failed")):
        with pytest.raises(InvalidRequest):
            asked.chart(wrong)


def test_groups_are_compared(asked: Asked, jobs: dict[str, str]) -> None:
    found = asked.chart(by="group").top
    assert [(one.value, one.jobs, one.failures) for one in found] == [
        ("acme", 2, 1),
        ("default", 1, 1),
    ]
    assert asked.chart(by="batch").top == asked.chart().top == []
    for wrong in ({"wanted": Filter(group="a"), "by": "group"}, {"by": "state"}):
        with pytest.raises(InvalidRequest):
            asked.chart(**wrong)


def test_a_batch_of_another_account_has_no_results(
    asked: Asked, desk: Desk, archived: Archived, client: redis.Redis
) -> None:
    batch = desk.queue.open_batch("b")
    desk.queue.enqueue_many([line("a")], batch=batch)
    desk.queue.seal_batch(batch)
    (job,) = desk.claim()
    desk.end([job])
    archived.write(job.job_id)
    archived.forget(batch, job.job_id)
    client.sadd(ACCOUNTS, "shop")
    client.hset("runqueue:{shop}:archive", "id", archived.id)
    assert names(asked.iter_results(None, Filter(batch=batch))) == ["a"]
    with pytest.raises(BatchNotFound):
        asked.iter_results(None, Filter(batch=batch), account="shop")


def test_open_jobs_are_found_by_workflow_in_redis(asked: Asked, desk: Desk) -> None:
    run = {"kind": "workflow", "body": {"workflow_id": "wpid_1"}}
    desk.queue.enqueue_many([line("other"), {**line("a"), **run}])
    for wanted in (
        Filter(workflow="wpid_1", is_open=True),
        Filter(workflow="wpid_1", state="ready"),
    ):
        (job,) = asked.list_jobs(wanted).jobs
        assert (job.custom_id, job.workflow) == ("a", "wpid_1")


def test_results_are_found_by_filter_in_the_archive(asked: Asked, jobs: dict[str, str]) -> None:
    found = asked.iter_results(None, Filter(group="acme"))
    assert [(job.custom_id, job.output) for job in found] == [("only", "42"), ("gone", "42")]
    assert names(asked.iter_results(None, Filter(text="invoice"), errors=True)) == ["only"]
    after = asked.iter_results(None, Filter(), after=jobs["only"])
    assert names(after) == ["gone"]


def test_results_of_a_batch_that_redis_has_no_more(
    asked: Asked, desk: Desk, archived: Archived
) -> None:
    batch = desk.queue.open_batch("b")
    desk.queue.enqueue_many([line("a"), line("b")], batch=batch)
    desk.queue.seal_batch(batch)
    claimed = desk.claim()
    desk.end(claimed)
    ids = [job.job_id for job in claimed]
    archived.write(*ids)
    archived.only(ids[0])
    assert {*names(asked.iter_results(batch))} == {"a", "b"}
    assert not asked.get_batch(batch).archived
    found = asked.iter_results(batch, Filter(group="default", state="completed"))
    assert names(found) == ["a", "b"]
    archived.forget(batch, *ids)
    found = asked.iter_results(batch)
    assert {(job.custom_id, job.output) for job in found} == {("a", "42"), ("b", "42")}
    assert names(asked.iter_results(batch, Filter(custom_id="a"))) == ["a"]
    assert asked.iter_results(batch, Filter(state="failed")) == []
    assert names(asked.iter_results(batch, after=found[0].id)) == [found[1].custom_id]
    assert len(asked.list_jobs(Filter(batch=batch)).jobs) == 2
    of_archive = asked.get_batch(batch)
    assert (of_archive.archived, of_archive.total, of_archive.is_over) == (True, 2, True)
    assert of_archive.states == {"completed": 2}
    for act in (asked.pause_batch, asked.cancel_batch, asked.retry_failed):
        with pytest.raises(BatchNotFound):
            act(batch)
    with pytest.raises(BatchNotFound):
        asked.iter_results("nma3otfnxlrcktlsz4d7qmri")


def test_what_has_left_redis_is_replayed_once(asked: Asked, desk: Desk, archived: Archived) -> None:
    options = {"group": "acme", "priority": "high", "keys": ["site:acme"], "metadata": METADATA}
    retry = {"max_attempts": 2, "retry_on": ["timed_out"]}
    (kept,) = ended(desk, line("kept", retry=retry, **options), state="failed")
    (named,) = ended(desk, line("named", retry=retry, **options), state="failed")
    (nameless,) = ended(desk, line(None, **options), state="failed")
    (good,) = ended(desk, line("good"))
    archived.write(kept, named, nameless, good)
    before = {job.custom_id: job for job in asked.get_many([kept, named, nameless]) if job}
    archived.only(kept)
    archived.forget(named, nameless, good)
    ids = [kept, named, nameless, good]
    assert asked.replay(ids) == {
        kept: Settled.PUT_BACK,
        named: Settled.ENQUEUED_AGAIN,
        nameless: Settled.ENQUEUED_AGAIN,
        good: Settled.NOT_ENDED_BADLY,
    }
    assert set(asked.replay(ids).values()) == {Settled.NOT_ENDED_BADLY}
    waiting = {job.custom_id: job for job in asked.list_jobs(Filter(is_open=True)).jobs}
    assert set(waiting) == {"kept", "named", nameless}
    assert (waiting["kept"].id, waiting["named"].id) == (kept, named)
    assert waiting[nameless].namespace == "replay"
    for job in waiting.values():
        assert (job.group, job.priority.name.lower(), job.keys) == ("acme", "high", ("site:acme",))
        assert job.metadata == METADATA
    assert before["kept"].attempts == waiting["kept"].attempts
    fields = [desk.client.hget(f"runqueue:{{default}}:job:{one}", "retry") for one in ids[:2]]
    assert fields[0] == fields[1] != None  # noqa: E711 - bytes or None
    requests = [codec.read_request(item.stored)[1] for item in desk.claim()]
    assert [request["prompt"] for request in requests] == ["Read the price."] * 3


def test_a_discarded_job_is_in_the_archive_no_more(asked: Asked, jobs: dict[str, str]) -> None:
    dead, only = jobs["dead"], jobs["only"]
    assert asked.discard([dead, only]) == {dead: Settled.DONE, only: Settled.NOT_DEAD}
    assert asked.list_jobs(Filter(state="dead")).jobs == []
    assert asked.replay([dead]) == {dead: Settled.NO_SUCH_JOB}
    assert asked.discard([dead, jobs["gone"]]) == {
        dead: Settled.NO_SUCH_JOB,
        jobs["gone"]: Settled.NO_SUCH_JOB,
    }


def test_a_bearer_has_its_accounts_in_the_archive_too(
    jobs: dict[str, str], archived: Archived, redis_url: str, gateway_url: str, client: redis.Redis
) -> None:
    client.sadd(ACCOUNTS, "shop")
    queue = Asked(SomeOfQueue(redis_url, ("shop",), AsyncOpenArchive(archived.url)))
    assert queue.get_many([jobs["gone"], jobs["only"]]) == [None, None]
    assert queue.states([jobs["gone"]]) == [(None, 0.0)]
    assert set(queue.replay([jobs["gone"], jobs["only"]]).values()) == {Settled.NO_SUCH_JOB}
    for ask in (queue.list_jobs, queue.count_jobs, queue.list_errors, queue.chart):
        with pytest.raises(UnknownAccount):
            ask(account="default")
    queue.end()
    with httpx.Client(base_url=gateway_url, headers={"Authorization": f"Bearer {SHOP}"}) as http:
        assert http.get(f"/v1/jobs/{jobs['gone']}").status_code == 404
        for path in ("jobs", "count", "errors", "charts", "results"):
            answer = http.get(f"/v1/{path}?account=default&text=invoice")
            assert answer.status_code == 422, path


def test_another_archive_is_refused_over_http_without_a_reason(
    archived: Archived, client: redis.Redis, gateway_url: str
) -> None:
    client.sadd(ACCOUNTS, "shop")
    client.hset("runqueue:{shop}:archive", "id", "0" * 32)
    with httpx.Client(base_url=gateway_url, headers={"Authorization": f"Bearer {SHOP}"}) as http:
        for path in ("errors", "charts", "jobs?text=a", "count?text=a", "results?text=a"):
            answer = http.get(f"/v1/{path}")
            assert answer.status_code == 503, path
            assert answer.json()["type"] == "urn:runqueue:problem:archive-unavailable"
            assert archived.id not in answer.text
        for path in ("jobs", "jobs?state=failed", "jobs?is_open=true"):
            assert http.get(f"/v1/{path}").json()["jobs"] == []


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_another_archive_is_refused_and_what_redis_has_is_read(
    kind: str, jobs: dict[str, str], client: redis.Redis, archived: Archived, redis_url: str
) -> None:
    client.hset("runqueue:{default}:archive", "id", "0" * 32)
    asked = Asked(surfaces.opened(kind, redis_url, archived.url, ""))
    assert asked.get(jobs["open"]).custom_id == "open"
    assert asked.get(jobs["dead"]).reason == "No such engine 7"
    assert names(asked.list_jobs(Filter(is_open=True)).jobs) == ["open"]
    for ask, of in (
        (asked.get, jobs["gone"]),
        (asked.get, jobs["only"]),
        (asked.list_jobs, Filter(text="invoice")),
        (asked.list_errors, Filter()),
        (asked.chart, Filter()),
    ):
        with pytest.raises(
            ArchiveUnavailable, match=f"to archive {'0' * 32}, and .* {archived.id}"
        ):
            ask(of)
    asked.end()


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_an_archive_that_is_away_is_said_without_its_address(
    kind: str, jobs: dict[str, str], redis_url: str
) -> None:
    secret = "postgresql://someone:secret-word@127.0.0.1:1/runqueue"
    queue = Asked(surfaces.opened(kind, redis_url, secret, ""))
    assert queue.get(jobs["open"]).custom_id == "open"
    with pytest.raises(ArchiveUnavailable) as caught:
        queue.get(jobs["gone"])
    assert "secret-word" not in str(caught.value)
    assert {*names(queue.list_jobs().jobs)} == {"only", "dead", "open"}
    dead = queue.list_jobs(Filter(state="dead"))
    assert (names(dead.jobs), dead.lacks_archive) == (["dead"], True)
    assert not queue.list_jobs(Filter(is_open=True)).lacks_archive
    # A count or a file would look whole.
    with pytest.raises(ArchiveUnavailable):
        queue.count_jobs(Filter(state="dead"))
    with pytest.raises(ArchiveUnavailable):
        [*queue.iter_results(None, Filter(state="dead"))]
    assert queue.replay([jobs["dead"], jobs["only"]]) == {
        jobs["dead"]: Settled.DONE,
        jobs["only"]: Settled.ARCHIVED,
    }
    for ask in (queue.list_jobs, queue.count_jobs):
        with pytest.raises(ArchiveUnavailable):
            ask(Filter(text="invoice"))
    with pytest.raises(ArchiveUnavailable):
        queue.list_jobs(cursor="archive-1")
    queue.end()


def test_an_address_that_is_none_is_named(jobs: dict[str, str], redis_url: str) -> None:
    queue = Asked(surfaces.opened("sync", redis_url, "mysql://x/y", ""))
    with pytest.raises(ArchiveUnavailable, match="RUNQUEUE_ARCHIVE_URL"):
        queue.list_errors()
    queue.end()


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_before_anything_is_archived_lists_are_those_of_redis(
    kind: str, desk: Desk, archived: Archived
) -> None:
    asked = Asked(surfaces.opened(kind, desk.url, archived.url, ""))
    ended(desk, line("a"))
    assert names(asked.list_jobs().jobs) == ["a"]
    assert names(asked.list_jobs(Filter(state="completed")).jobs) == ["a"]
    with pytest.raises(ArchiveUnavailable):
        asked.list_errors()
    asked.end()
