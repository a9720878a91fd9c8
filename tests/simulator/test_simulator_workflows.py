"""Workflows: made, run, and what becomes of a run's parameters."""

from __future__ import annotations

from typing import Any

import pytest

from tests.simulator.simulating import Client, FakeClock, simulating

WHOLE = {"key": "whole", "workflow_parameter_type": "integer", "default_value": 7}
DATA = {"key": "data", "workflow_parameter_type": "json", "default_value": {"k": 1}}
WAIT = {"block_type": "wait", "label": "w1", "wait_sec": 5}


async def create(client: Client, *parameters: dict[str, Any], blocks: Any = (WAIT,)) -> str:
    """Make a workflow; gives its id."""
    declared = [{"parameter_type": "workflow", **parameter} for parameter in parameters]
    inner = {"parameters": declared, "blocks": list(blocks)}
    definition = {"title": "Made", "workflow_definition": inner}
    made = await client.post("/v1/workflows", {"json_definition": definition})
    return str(made["workflow_permanent_id"])


async def parameters_of(client: Client, run_id: str) -> Any:
    return (await client.get(f"/v1/runs/{run_id}"))["run_request"]["parameters"]


async def test_a_workflow_that_waits_takes_so_long_and_shows_its_blocks() -> None:
    clock = FakeClock()
    async with simulating(clock, failed=1.0) as client:
        run_id = await client.run_workflow(workflow_id=await create(client))
        clock.advance(4.9)
        assert await client.status(run_id) == "running"
        clock.advance(0.2)
        run = await client.get(f"/v1/runs/{run_id}")
        [line] = await client.get(f"/v1/runs/{run_id}/timeline")

    assert run["status"] == "completed"
    assert run["output"] == {"w1_output": {"success": True}, "extracted_information": []}
    assert run["run_request"]["title"] == "Made"
    assert [one["status"] for one in run["attempts"]] == ["completed"]
    assert (line["block"]["label"], line["block"]["status"]) == ("w1", "completed")


PERSON = {"block_type": "human_interaction", "label": "asks", "recipients": ["ops@example.com"]}


@pytest.mark.parametrize("slots", [0, 1])
async def test_a_run_that_waits_for_a_person_goes_on_once_it_is_approved(slots: int) -> None:
    clock = FakeClock()
    async with simulating(clock, max_concurrent=slots) as client:
        made = await create(client, blocks=(WAIT, PERSON, WAIT))
        run_id = await client.run_workflow(workflow_id=made)
        path = f"/v1/workflows/runs/{run_id}/continue"
        early = await client.call("POST", path)
        clock.advance(3_600)
        assert await client.status(run_id) == "paused"
        assert await client.search("status=paused") == [run_id]
        await client.post(path)
        late = await client.call("POST", path)
        assert await client.status(run_id) == "running"
        clock.advance(5.1)
        run = await client.get(f"/v1/runs/{run_id}")
        rejected = await client.run_workflow(workflow_id=made)
        clock.advance(6)
        await client.post(f"/v1/runs/{rejected}/cancel")
        assert await client.status(rejected) == "canceled"

    missing = {"detail": f"Workflow run not found {run_id}"}
    assert early == late == (404, missing)
    assert run["status"] == "completed"
    assert run["output"]["asks_output"] == {"success": True, "reason": "status_changed:running"}
    assert run["output"]["w1_output"] == {"success": True}


async def test_a_workflow_that_nobody_made_is_there_unless_told_otherwise() -> None:
    async with simulating() as client:
        run_id = await client.run_workflow(workflow_id="wpid_7", parameters={"a": 1})
        assert await parameters_of(client, run_id) == {"a": 1}
    async with simulating(any_workflow=False) as client:
        answer = await client.call("POST", "/v1/run/workflows", {"workflow_id": "wpid_7"})
        made = await create(client)
        assert (await client.get(f"/v1/workflows/{made}"))["title"] == "Made"

    words = "Workflow not found. workflow_permanent_id=wpid_7"
    assert answer == (404, {"detail": words})


async def test_parameters_that_are_declared_for_all_are_texts_and_drop_the_others() -> None:
    async with simulating(declared_parameters=frozenset({"who"})) as client:
        run_id = await client.run_workflow(parameters={"who": 5, "what": "x"})

        assert await parameters_of(client, run_id) == {"who": "5"}
