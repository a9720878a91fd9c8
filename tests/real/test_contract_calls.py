"""The calls about runs: list, tags, cancel, bulk cancel, webhooks and their repetition."""

import json
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from api_client import verify_webhook
from lab.waiting import until
from tests.real.listener import Listener, listener
from tests.real.request_kinds import HOST
from tests.real.target import Target

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

TASKS, WORKFLOWS = "/v1/run/tasks", "/v1/run/workflows"
OLD = "1.0.40"


@pytest.fixture(scope="module")
def quick(target: Target) -> str:
    """A workflow that completes within a second or two."""
    return target.workflow("quick")


@pytest.fixture(scope="module")
def lasting(target: Target) -> str:
    """A workflow that goes on until it is canceled."""
    return target.workflow(
        "lasting", blocks=[{"block_type": "wait", "label": "wait", "wait_sec": 600}]
    )


@pytest.fixture
def hooks() -> Iterator[Listener]:
    """A receiver of webhooks."""
    with listener() as made:
        yield made


def _start(target: Target, workflow: str, **fields: Any) -> str:
    answer = target.post(WORKFLOWS, {"workflow_id": workflow, **fields}).raise_for_status()
    run_id: str = answer.json()["run_id"]
    return run_id


def test_the_server_names_its_version(target: Target) -> None:
    assert target.get("/v1/version").json() == {"version": target.version}


def test_answers_carry_the_servers_clock(target: Target) -> None:
    said = parsedate_to_datetime(target.get("/v1/runs", page_size=1).headers["date"])
    assert abs(said.timestamp() - time.time()) < 5


def test_a_run_is_listed_at_once_newest_first_and_by_pages(target: Target, quick: str) -> None:
    first, second = _start(target, quick), _start(target, quick)
    assert [item["run_id"] for item in target.listed()[:2]] == [second, first]
    assert [i["run_id"] for i in target.listed(page=2, page_size=1)] == [first]
    assert target.listed(page=100) == []


def test_the_list_is_a_page_of_ten_unless_more_are_asked_for(target: Target, quick: str) -> None:
    for _ in range(11):
        _start(target, quick)
    assert len(target.get("/v1/runs").json()) == 10
    assert len(target.listed(page_size=11)) == 11


@pytest.mark.parametrize(
    "query",
    [{"page": 0}, {"page_size": 101}, {"status": "bogus"}, {"search_key": "ab"}],
    ids=lambda query: next(iter(query)),
)
def test_a_list_out_of_bounds_is_refused(target: Target, query: dict[str, Any]) -> None:
    assert target.get("/v1/runs", **query).status_code == 422


def test_a_list_by_status_shows_the_live_ones_alone(target: Target, lasting: str) -> None:
    run_id = _start(target, lasting)
    live = ["created", "queued", "running"]
    if target.version == OLD:
        # It knows no pause, and refuses the whole list.
        assert target.get("/v1/runs", status=[*live, "paused"]).status_code == 422
    else:
        live.append("paused")
    until(lambda: run_id in {i["run_id"] for i in target.listed(status=live)}, 10, "it to be live")
    assert run_id not in {i["run_id"] for i in target.listed(status=["completed", "failed"])}
    target.post(f"/v1/runs/{run_id}/cancel").raise_for_status()
    until(lambda: run_id not in {i["run_id"] for i in target.listed(status=live)}, 20, "its end")


def test_a_search_for_what_nobody_has_finds_nothing(target: Target, quick: str) -> None:
    _start(target, quick)
    assert target.listed(search_key="nobody-has-this-value") == []


def test_metadata_is_found_as_a_tag_at_once_and_another_value_is_not(
    target: Target, quick: str
) -> None:
    value = f"job-{time.time_ns()}.1"
    run_id = _start(target, quick, run_metadata={"rq_job": value, "mine": "x"})
    _start(target, quick, run_metadata={"rq_job": f"{value}1"})
    found = [item["run_id"] for item in target.listed(tags=f"rq_job:{value}")]
    if target.version == OLD:
        # It knows no tags: any value answers with all runs.
        assert len(found) > 1
        assert target.listed(tags="rq_job:nobody-has-this") != []
        return
    assert found == [run_id]
    assert target.listed(tags="rq_job:nobody-has-this") == []
    until(lambda: target.run(run_id)["status"] == "completed", 30, "its end")
    assert [item["run_id"] for item in target.listed(tags=f"rq_job:{value}")] == [run_id]


def test_several_tags_have_to_be_there_all(target: Target, quick: str) -> None:
    if target.version == OLD:
        pytest.skip("1.0.40 knows no tags")
    one, two = (f"v-{time.time_ns()}-{n}" for n in (1, 2))
    first = _start(target, quick, run_metadata={"rq_job": one, "rq_more": two})
    _start(target, quick, run_metadata={"rq_job": one})
    both = target.get("/v1/runs", tags=[f"rq_job:{one}", f"rq_more:{two}"])
    assert both.status_code == 200
    assert first in {item["run_id"] for item in both.json()}


def test_a_canceled_run_is_over_at_once_and_a_workflow_takes_it_twice(
    target: Target, lasting: str
) -> None:
    run_id = _start(target, lasting)
    answer = target.post(f"/v1/runs/{run_id}/cancel")
    assert (answer.status_code, answer.json()) == (200, None)
    assert target.run(run_id)["status"] == "canceled"
    assert target.post(f"/v1/runs/{run_id}/cancel").status_code == 200


def test_a_task_that_is_over_refuses_a_cancel(target: Target) -> None:
    run_id = target.post(TASKS, {"prompt": "p", "url": HOST}).json()["run_id"]
    target.wait_over(run_id)
    assert target.post(f"/v1/runs/{run_id}/cancel").status_code == 400


def test_many_runs_are_canceled_at_once_and_the_others_are_named(
    target: Target, quick: str, lasting: str
) -> None:
    live, done = _start(target, lasting), _start(target, quick)
    task = target.post(TASKS, {"prompt": "p", "url": HOST}).json()["run_id"]
    for run_id in (done, task):
        target.wait_over(run_id)
    asked = [live, done, live, task, "tsk_999"]
    answer = target.post("/v1/runs/cancel", {"run_ids": asked}).raise_for_status().json()
    assert set(answer["cancelled"]) == {live, done}
    assert set(answer["failed"]) == {task, "tsk_999"}
    assert target.run(live)["status"] == "canceled"
    assert target.post("/v1/runs/cancel", {"run_ids": ["tsk_1"] * 101}).status_code == 422


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v1/runs/tsk_999", "not found"),
        ("/v1/runs/wr_999", "not found"),
        ("/v1/runs/tsk_v2_999", "not found"),
    ],
)
def test_an_unknown_run_is_404(target: Target, path: str, words: str) -> None:
    answer = target.get(path)
    assert answer.status_code == 404
    assert words in answer.json()["detail"]
    assert target.post(f"{path}/cancel").status_code == 404
    assert target.post(f"{path}/retry_webhook").status_code == 404


def test_a_webhook_is_signed_with_the_key_over_its_body(
    target: Target, quick: str, hooks: Listener
) -> None:
    run_id = _start(target, quick, webhook_url=f"{hooks.url}/hook?rq_job=x.1.")
    until(lambda: hooks.at("/hook"), 60, "its webhook")
    came = hooks.at("/hook")[0]
    signature = came.headers["x-skyvern-signature"]
    assert verify_webhook(came.body, signature, target.api_key)
    assert not verify_webhook(came.body + b" ", signature, target.api_key)
    payload = json.loads(came.body)
    assert payload["run_id"] == run_id
    assert payload["status"] == "completed"
    assert came.path.endswith("?rq_job=x.1.")
    assert "x-skyvern-timestamp" in came.headers


def test_the_run_is_over_before_its_webhook_comes(
    target: Target, quick: str, hooks: Listener
) -> None:
    hooks.status = 500
    run_id = _start(target, quick, webhook_url=f"{hooks.url}/hook")
    until(lambda: hooks.at("/hook"), 60, "its webhook")
    assert target.run(run_id)["status"] == "completed"


def test_a_webhook_that_fails_is_tried_three_times_with_the_same_body(
    target: Target, quick: str, hooks: Listener
) -> None:
    hooks.status = 500
    _start(target, quick, webhook_url=f"{hooks.url}/hook")
    until(lambda: len(hooks.at("/hook")) == 3, 60, "three tries")
    assert len({each.body for each in hooks.at("/hook")}) == 1


def test_a_repeated_webhook_is_sent_within_the_call_and_told(
    target: Target, quick: str, hooks: Listener
) -> None:
    run_id = _start(target, quick, webhook_url=f"{hooks.url}/hook")
    until(lambda: hooks.at("/hook"), 60, "its webhook")
    answer = target.post(f"/v1/runs/{run_id}/retry_webhook").raise_for_status().json()
    assert (answer["status_code"], answer["error"]) == (200, None)
    came = hooks.at("/hook")[-1]
    assert came.body.decode() == answer["payload"]
    assert verify_webhook(came.body, came.headers["x-skyvern-signature"], target.api_key)
    assert json.loads(came.body)["run_id"] == run_id
    elsewhere = {"webhook_url": f"{hooks.url}/elsewhere"}
    target.post(f"/v1/runs/{run_id}/retry_webhook", elsewhere).raise_for_status()
    assert len(hooks.at("/elsewhere")) == 1


def test_a_repeated_webhook_that_fails_is_a_200_that_says_so(
    target: Target, quick: str, hooks: Listener
) -> None:
    run_id = _start(target, quick)
    target.wait_over(run_id)
    hooks.status = 500
    there = target.post(
        f"/v1/runs/{run_id}/retry_webhook", {"webhook_url": f"{hooks.url}/hook"}
    ).raise_for_status()
    assert (there.json()["status_code"], there.json()["error"]) == (500, None)
    nobody = target.post(f"/v1/runs/{run_id}/retry_webhook", {"webhook_url": f"{HOST}/hook"})
    assert nobody.status_code == 200
    assert nobody.json()["status_code"] is None
    assert json.loads(nobody.json()["payload"])["run_id"] == run_id
    assert target.post(f"/v1/runs/{run_id}/retry_webhook").status_code == 400


def test_a_webhook_of_a_live_run_is_not_repeated(target: Target, lasting: str) -> None:
    run_id = _start(target, lasting, webhook_url=f"{HOST}/hook")
    assert target.post(f"/v1/runs/{run_id}/retry_webhook").status_code == 400
    target.post(f"/v1/runs/{run_id}/cancel").raise_for_status()


def test_live_runs_of_a_server_that_died_stay_running_until_they_are_canceled(
    ours: Target, lasting: str
) -> None:
    run_id = _start(ours, lasting)
    until(lambda: ours.run(run_id)["status"] == "running", 20, "it to run")
    assert ours.server is not None
    ours.server.kill()
    ours.server.start()
    assert ours.run(run_id)["status"] == "running"
    ours.post(f"/v1/runs/{run_id}/cancel").raise_for_status()
    assert ours.run(run_id)["status"] == "canceled"


def test_the_list_shows_every_run_of_the_servers_database(ours: Target, quick: str) -> None:
    _start(ours, quick)
    ours.post(TASKS, {"prompt": "p", "url": HOST}).raise_for_status()
    ours.post(TASKS, {"prompt": "p", "url": HOST, "engine": "skyvern-2.0"}).raise_for_status()
    rows = {run_id for (run_id,) in ours.rows("select run_id from task_runs")}
    assert ours.all_run_ids() == rows
    tasks = {t for (t,) in ours.rows("select task_id from tasks where workflow_run_id is null")}
    query = "select observer_cruise_id, workflow_run_id, started_at from observer_cruises"
    twos = ours.rows(query)
    below = {workflow_run for _, workflow_run, _ in twos}
    workflows = ours.rows("select workflow_run_id, started_at from workflow_runs")
    begun = {two: started for two, _, started in twos}
    begun |= {run_id: started for run_id, started in workflows if run_id not in below}
    assert tasks <= rows <= tasks | set(begun)
    # A submission that was refused may leave a row, of a run that never began.
    assert [r for r, started in begun.items() if r not in rows and started is not None] == []
