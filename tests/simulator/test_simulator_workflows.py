"""Workflows: made, run, and what becomes of a run's parameters."""

from __future__ import annotations

from typing import Any

import pytest

from tests.simulator.simulating import Client, FakeClock, simulating

NEED = {"key": "need", "workflow_parameter_type": "string"}
WHOLE = {"key": "whole", "workflow_parameter_type": "integer", "default_value": 7}
REAL = {"key": "real", "workflow_parameter_type": "float", "default_value": 1.5}
FLAG = {"key": "flag", "workflow_parameter_type": "boolean", "default_value": False}
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


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({}, {"whole": 7, "real": 1.5, "flag": False, "data": {"k": 1}}),
        ({"whole": "8", "other": 1}, {"whole": 8, "real": 1.5, "flag": False, "data": {"k": 1}}),
        ({"whole": None, "real": 2}, {"whole": 7, "real": 2.0, "flag": False, "data": {"k": 1}}),
        (
            {"flag": "TRUE", "data": '{"z": 1}'},
            {"whole": 7, "real": 1.5, "flag": True, "data": {"z": 1}},
        ),
    ],
)
async def test_parameters_are_cast_completed_and_undeclared_ones_dropped(
    given: dict[str, Any], shown: dict[str, Any]
) -> None:
    async with simulating() as client:
        workflow = await create(client, WHOLE, REAL, FLAG, DATA)
        first = await client.post(
            "/v1/run/workflows", {"workflow_id": workflow, "parameters": given}
        )

        assert first["run_request"]["parameters"] == given
        assert await parameters_of(client, first["run_id"]) == shown


async def test_a_missing_parameter_and_one_of_another_type_are_refused() -> None:
    async with simulating() as client:
        workflow = await create(client, NEED, WHOLE)
        missing = await client.call("POST", "/v1/run/workflows", {"workflow_id": workflow})
        body = {"workflow_id": workflow, "parameters": {"need": "n", "whole": "abc"}}
        wrong = await client.call("POST", "/v1/run/workflows", body)

        assert await client.ledger() == []
    assert missing == (
        400,
        {"detail": f"Missing value for parameter need in workflow {workflow}"},
    )
    words = "Invalid workflow parameter. Expected parameter type: integer. Value: abc."
    assert wrong == (400, {"detail": words})


async def test_a_run_whose_parameters_cannot_be_read_back_is_never_shown_and_never_ends() -> None:
    clock = FakeClock()
    async with simulating(clock) as client:
        workflow = await create(client, WHOLE)
        run_id = await client.run_workflow(workflow_id=workflow, parameters={"whole": 9.7})
        clock.advance(1e6)
        status, _ = await client.call("GET", f"/v1/runs/{run_id}")
        listed = (await client.get("/v1/runs"))[0]

    assert status == 400
    assert (listed["run_id"], listed["status"]) == (run_id, "running")


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


async def test_a_workflow_that_sends_a_request_fails() -> None:
    clock = FakeClock()
    async with simulating(clock) as client:
        block = {"block_type": "http_request", "label": "h1", "method": "GET", "url": "http://x"}
        run_id = await client.run_workflow(workflow_id=await create(client, blocks=[block]))
        clock.advance(1)
        run = await client.get(f"/v1/runs/{run_id}")

    assert (run["status"], bool(run["failure_reason"])) == ("failed", True)


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


async def test_a_finished_workflow_run_is_made_again_and_a_live_one_is_not() -> None:
    clock = FakeClock()
    async with simulating(clock) as client:
        workflow = await create(client, WHOLE)
        body = {"parameters": {"whole": 3}, "run_metadata": {"job": "j1"}}
        first = await client.run_workflow(workflow_id=workflow, **body)
        path = f"/v1/workflows/runs/{first}/retry"
        live, _ = await client.call("POST", path)
        clock.advance(6)
        second = (await client.post(path))["run_id"]
        task, _ = await client.call("POST", f"/v1/workflows/runs/{await client.run_task()}/retry")

        assert await parameters_of(client, second) == {"whole": 3}
        assert await client.search("tags=job:j1") == [second, first]
    assert second != first
    assert (live, task) == (400, 404)


@pytest.mark.parametrize(
    ("path", "body", "title"),
    [
        (
            "/v1/run/tasks/login",
            {
                "credential_type": "1password",
                "onepassword_vault_id": "v",
                "onepassword_item_id": "i",
            },
            "Login",
        ),
        ("/v1/run/tasks/download_files", {"navigation_goal": "Get it"}, "File Download"),
    ],
)
async def test_a_login_and_a_download_run_a_workflow_of_their_own(
    path: str, body: dict[str, Any], title: str
) -> None:
    async with simulating() as client:
        runs = [await client.post(path, body | {"title": "mine"}) for _ in range(2)]
        shown = [await client.get(f"/v1/runs/{run['run_id']}") for run in runs]
        listed = await client.get("/v1/runs")
        own = await client.get(f"/v1/workflows/{shown[0]['run_request']['workflow_id']}")

    assert all(run["run_id"].startswith("wr_") for run in runs)
    assert [run["run_request"]["title"] for run in shown] == [title] * 2
    assert {item["title"] for item in listed} == {title}
    workflows = {run["run_request"]["workflow_id"] for run in shown}
    assert len(workflows) == 2
    assert all(workflow.startswith("wpid_") for workflow in workflows)
    assert (own["title"], own["status"]) == (title, "auto_generated")
    # The first answer names its version, not the workflow.
    assert runs[0]["run_request"]["workflow_id"].startswith("w_")


async def test_the_workflow_of_a_login_shows_address_goal_and_credential() -> None:
    async with simulating() as client:
        body = {"credential_type": "azure_vault", "url": "A.test/x", "prompt": "Log in"}
        body |= {f"azure_vault_{name}": name for name in ("name", "username_key", "password_key")}
        run = await client.post("/v1/run/tasks/login", body)
        request = (await client.get(f"/v1/runs/{run['run_id']}"))["run_request"]
        own = await client.get(f"/v1/workflows/{request['workflow_id']}")

    [block] = own["workflow_definition"]["blocks"]
    assert (block["block_type"], block["navigation_goal"]) == ("login", "Log in")
    assert block["url"] == "https://A.test/x"  # with a scheme, and otherwise as it was sent
    _, credential = own["workflow_definition"]["parameters"]
    assert (credential["vault_name"], credential["username_key"]) == ("name", "username_key")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"credential_type": "skyvern"}, 400),
        ({"credential_type": "skyvern", "credential_id": "cred_1"}, 404),
        ({"credential_type": "azure_vault", "azure_vault_name": "n"}, 400),
        ({"credential_type": "1password", "url": "ftp://x"}, 400),
    ],
)
async def test_a_login_without_what_it_needs_is_refused(body: dict[str, Any], status: int) -> None:
    async with simulating() as client:
        answer, _ = await client.call("POST", "/v1/run/tasks/login", body)

        assert await client.ledger() == []
    assert answer == status
