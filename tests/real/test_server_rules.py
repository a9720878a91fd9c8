"""What our check of run requests says of the server, asked of a server.

A request that it refuses here is one that `runqueue` refuses at enqueue; one that it takes here is
one that is handed on.
"""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from runqueue.request.requests import MODELS, Kind
from runqueue.request.server_rules import NOT_NULL
from tests.real.target import Target
from tests.server_rules import ACCEPTED, BROKEN, LEAST, Broken

pytestmark = pytest.mark.real

PATHS = {
    "task": "/v1/run/tasks",
    "workflow": "/v1/run/workflows",
    "login": "/v1/run/tasks/login",
    "download_files": "/v1/run/tasks/download_files",
}
#: Fields that do not travel in the body; those that a null is no request without; and a task's URL,
#: without which a model is asked for one.
LEFT_OUT = {"user_agent", "max_steps_override", "template", "workflow_id", "credential_id", "url"}


@pytest.fixture(scope="module", autouse=True)
def _only_its_rules(target: Target) -> None:
    if target.version != "1.0.56":
        pytest.skip(f"the rules are those of 1.0.56, this is {target.version}")


@pytest.fixture(scope="module")
def workflow(target: Target) -> str:
    return target.workflow("rules")


def submit(target: Target, workflow: str, kind: str, body: dict[str, Any]) -> httpx.Response:
    """Submit a request with what its kind requires; a login without a credential of ours.

    A task's URL is a closed port of loopback: it needs no network.
    """
    least = {
        **LEAST,
        "task": {"prompt": "Read the price.", "url": "http://127.0.0.1:9/"},
        "workflow": {"workflow_id": workflow},
    }[kind]
    return target.post(PATHS[kind], {**least, **body})


@pytest.mark.parametrize("broken", BROKEN, ids=str)
def test_the_server_does_not_take_what_we_refuse(
    target: Target, workflow: str, broken: Broken
) -> None:
    answer = submit(target, workflow, broken.kind, broken.body)
    if broken.answer != "ignored":
        assert answer.status_code == broken.answer, answer.text
        return
    assert answer.status_code == 200, answer.text
    run = target.run(answer.json()["run_id"])
    assert run["run_request"].get(broken.field) is None
    if broken.field == "run_metadata":
        tags = target.get(f"/v1/runs/{run['run_id']}/tags").json()["tags"]
        assert not [tag for tag in tags if tag["value"] in broken.body["run_metadata"].values()]


@pytest.mark.parametrize(("kind", "body"), ACCEPTED)
def test_the_server_takes_what_we_take(
    target: Target, workflow: str, kind: str, body: dict[str, Any]
) -> None:
    answer = submit(target, workflow, kind, body)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        pytest.param(kind, name, id=f"{kind}-{name}")
        for kind, model in MODELS.items()
        for name, field in model.model_fields.items()
        if not field.is_required() and name not in LEFT_OUT
    ],
)
def test_null_is_taken_by_every_field_but_those_we_refuse(
    target: Target, workflow: str, kind: Kind, name: str
) -> None:
    answer = submit(target, workflow, kind, {name: None})
    # A login that gets as far as its credential has passed the check of its fields.
    taken = 404 if kind == "login" else 200
    assert answer.status_code == (422 if name in NOT_NULL[kind] else taken), answer.text


def test_metadata_with_a_key_that_no_tag_may_have_still_carries_our_tag(
    target: Target, workflow: str
) -> None:
    own = {"cost centre/ä": "a,b", "rq_job": "abcdefghijklmnopqrstuvwx.1"}
    made = submit(target, workflow, "workflow", {"run_metadata": own}).raise_for_status()
    found = target.listed(tags="rq_job:abcdefghijklmnopqrstuvwx.1")
    assert [item["run_id"] for item in found] == [made.json()["run_id"]]
    assert target.listed(tags="rq_job:abcdefghijklmnopqrstuvwx.2") == []
