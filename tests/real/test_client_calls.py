"""The calls of `api_client` about one run and about sessions, made to a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from api_client import BadRequestError, ConflictError, NotFoundError, NotSupported, Skyvern
from tests.real.target import Target

pytestmark = pytest.mark.real


@pytest.fixture
def client(target: Target) -> Iterator[Skyvern]:
    with Skyvern(api_key=target.api_key, base_url=target.base_url) as client:
        yield client


@pytest.fixture(scope="module")
def ended(target: Target) -> str:
    """A workflow run that is over."""
    made = target.post("/v1/run/workflows", {"workflow_id": target.workflow("calls")})
    run_id: str = made.raise_for_status().json()["run_id"]
    target.wait_over(run_id)
    return run_id


def test_a_run_s_files_are_listed_and_an_unknown_run_has_none(client: Skyvern, ended: str) -> None:
    for artifact in client.agent.get_run_artifacts(ended):
        assert artifact.artifact_id
        assert artifact.unreadable_fields is None
    assert client.agent.get_run_artifacts("wr_1") == []


def test_a_timeline_shows_the_blocks_and_a_task_of_engine_1_has_none(
    client: Skyvern, ended: str
) -> None:
    (entry,) = client.agent.get_run_timeline(ended)
    assert entry.type == "block"
    assert entry.block is not None
    assert entry.block["block_type"] == "wait"
    task = client.agent.run_task(prompt="Read it.", url="http://127.0.0.1:9/")
    with pytest.raises(BadRequestError):
        client.agent.get_run_timeline(task.run_id)
    with pytest.raises(NotFoundError):
        client.agent.get_run_timeline("wr_1")


def test_a_new_run_of_a_run_has_an_id_of_its_own_and_one_that_goes_on_has_none(
    client: Skyvern, target: Target, ended: str
) -> None:
    again = client.agent.retry_workflow_run(ended)
    assert again.run_id != ended
    slow = target.workflow("slow", blocks=[{"block_type": "wait", "label": "w", "wait_sec": 60}])
    live = client.agent.run_workflow(workflow_id=slow)
    with pytest.raises(BadRequestError, match="terminal"):
        client.agent.retry_workflow_run(live.run_id)
    client.agent.cancel_run(live.run_id)
    with pytest.raises(NotFoundError):
        client.agent.retry_workflow_run("wr_1")


def test_tags_are_set_replaced_removed_and_found(
    client: Skyvern, target: Target, ended: str
) -> None:
    if target.version != "1.0.56":
        with pytest.raises(NotSupported):
            client.agent.get_run_tags(ended)
        return
    set_to = client.agent.apply_run_tags(
        ended, tags=[{"key": "order", "value": "17"}, {"value": "urgent"}]
    )
    assert {(tag.key, tag.value) for tag in set_to.tags} >= {("order", "17"), (None, "urgent")}
    client.agent.apply_run_tags(
        ended, tags=[{"key": "order", "value": "18"}], tags_to_delete=[{"value": "urgent"}]
    )
    own = {(tag.key, tag.value) for tag in client.agent.get_run_tags(ended).tags}
    assert ("order", "18") in own
    assert (None, "urgent") not in own
    assert [run.run_id for run in client.agent.list_runs(tags="order:18")] == [ended]
    assert client.agent.list_runs(tags=["order:18", "client:x"]) == [], "of two keys both must fit"
    either = client.agent.list_runs(tags=["order:17", "order:18"])
    assert [run.run_id for run in either] == [ended], "of one key any may"
    assert ended in {run.run_id for run in client.agent.iter_runs(tags="order:*")}
    with pytest.raises(NotFoundError):
        client.agent.get_run_tags("wr_1")


def test_a_session_is_opened_read_extended_and_closed(client: Skyvern, target: Target) -> None:
    made = client.agent.create_browser_session(timeout=5)
    assert client.agent.get_browser_session(made.browser_session_id).timeout == 5
    if target.version == "1.0.40":
        with pytest.raises(NotSupported):
            client.agent.extend_browser_session(made.browser_session_id, additional_minutes=10)
    else:
        longer = client.agent.extend_browser_session(made.browser_session_id, additional_minutes=10)
        assert longer.timeout == 15
    client.agent.close_browser_session(made.browser_session_id)
    client.agent.close_browser_session(made.browser_session_id)
    assert client.agent.get_browser_session(made.browser_session_id).completed_at is not None
    with pytest.raises(NotSupported if target.version == "1.0.40" else ConflictError):
        client.agent.extend_browser_session(made.browser_session_id, additional_minutes=10)
    with pytest.raises(NotFoundError):
        client.agent.get_browser_session("pbs_1")
