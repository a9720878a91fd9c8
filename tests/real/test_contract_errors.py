"""What the server answers to a submission that it does not take, and that no run is made of it.

A row an answer: of 1.0.56, and of 1.0.40 where that differs. The words are those that
`api_client/answers/outcomes.py` may look at.
"""

import socket
from dataclasses import dataclass
from typing import Any

import pytest

from api_client import SubmissionClass
from api_client.answers.outcomes import classify_submission
from lab.waiting import until
from tests.real.request_kinds import HOST, filled
from tests.real.target import Target

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

TASKS, WORKFLOWS = "/v1/run/tasks", "/v1/run/workflows"
LOGIN = f"{TASKS}/login"
OLD = "1.0.40"
_VAULT = {"credential_type": "1password", "onepassword_vault_id": "v", "onepassword_item_id": "i"}


@dataclass(frozen=True)
class Refusal:
    """One submission that is refused.

    Args:
        name: its name in the report.
        path, body: what is sent; "{w}" is a workflow that needs a whole number `need`.
        status: what is answered.
        words: what the answer holds.
        old: the status on 1.0.40, where that differs; 200 = it makes a run there.
    """

    name: str
    path: str
    body: Any
    status: int
    words: str
    old: int | None = None


def _task(name: str, status: int, words: str, old: int | None = None, **fields: Any) -> Refusal:
    return Refusal(name, TASKS, {"prompt": "p", "url": HOST, **fields}, status, words, old)


def _workflow(name: str, status: int, words: str, old: int | None = None, **fields: Any) -> Refusal:
    body = {"workflow_id": "{w}", "parameters": {"need": 1}, **fields}
    return Refusal(name, WORKFLOWS, body, status, words, old)


ROWS = (
    Refusal("no_body", TASKS, None, 422, '"loc":["body"]'),
    Refusal("no_prompt", TASKS, {}, 422, '"loc":["body","prompt"]'),
    Refusal("no_workflow", WORKFLOWS, {}, 422, '"loc":["body","agent_id"]'),
    _task("unknown_engine", 422, '"loc":["body","engine"]', engine="skyvern-9.9"),
    _task("null_in_error_codes", 422, '"loc":["body","error_code_mapping","E"]',
          error_code_mapping={"E": None}),
    _task("url_of_another_scheme", 400, "HTTP", url="ftp://127.0.0.1/"),
    _task("url_that_is_none", 400, "HTTP", url="not a url"),
    _task("webhook_of_another_scheme", 400, "HTTP", webhook_url="ftp://127.0.0.1/"),
    _task("unknown_session", 404, "Browser session pbs_999 does not exist or is not live",
          browser_session_id="pbs_999"),
    _task("unknown_file", 422, "These file ids are not available to attach", old=200,
          file_ids=["file_999"]),
    _task("fresh_browser_on_1.0", 400, "start_fresh_browser is not supported", old=200,
          start_fresh_browser=True),
    _task("profile_on_1.0", 400, "browser_profile_id is not supported", old=200,
          browser_profile_id="bp_999"),
    _task("unknown_profile_on_2.0", 404, "Browser profile bp_999 not found", old=200,
          engine="skyvern-2.0", browser_profile_id="bp_999"),
    Refusal("model_that_fails", TASKS, {"prompt": "stub:error"}, 400, "Failed to generate task"),
    Refusal("unknown_workflow", WORKFLOWS, {"workflow_id": "wpid_999"}, 404, "Workflow not found"),
    _workflow("missing_parameter", 400, "Missing value for parameter need", parameters={}),
    _workflow("parameter_of_another_type", 400, "Expected parameter type: integer",
              parameters={"need": "abc"}),
    _workflow("unknown_session_of_a_workflow", 404, "does not exist or is not live",
              browser_session_id="pbs_999"),
    _workflow("unknown_file_of_a_workflow", 422, "These file ids are not available", old=200,
              file_ids=["file_999"]),
    _workflow("browser_type", 400, "is not supported by this runtime", old=200,
              browser_type="chrome"),
    _workflow("time_limit_over_480_minutes", 422, '"loc":["body","max_elapsed_time_minutes"]',
              max_elapsed_time_minutes=481),
    _workflow("21_entries_of_metadata", 422, "at most 20 entries",
              run_metadata={str(n): "v" for n in range(21)}),
    _workflow("long_value_of_metadata", 422, "at most 256 characters",
              run_metadata={"k": "v" * 257}),
    _workflow("long_key_of_metadata", 422, "at most 64 characters", run_metadata={"k" * 65: "v"}),
    _workflow("metadata_that_is_no_text", 422, '"loc":["body","run_metadata","k"]',
              run_metadata={"k": 5}),
    Refusal("login_without_credential", LOGIN, {"credential_type": "skyvern"}, 400,
            "credential_id is required"),
    Refusal("login_with_unknown_credential", LOGIN,
            {"credential_type": "skyvern", "credential_id": "cred_999"}, 404, "not found"),
    Refusal("login_with_geo_proxy", LOGIN, {**_VAULT, "proxy_location": {"country": "US"}}, 422,
            '"loc":["body","proxy_location"]'),
)  # fmt: skip


@pytest.fixture(scope="module")
def needs(target: Target) -> str:
    """A workflow with a parameter that has no default."""
    return target.workflow("needs", [{"key": "need", "workflow_parameter_type": "integer"}])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_server_refuses(target: Target, needs: str, row: Refusal) -> None:
    before = target.all_run_ids()
    answer = target.post(row.path, filled(row.body, "", needs))
    if target.version == OLD and row.old is not None:
        assert answer.status_code == row.old
        return
    assert (answer.status_code, row.words in answer.text) == (row.status, True), answer.text
    assert answer.headers["content-type"] == "application/json"
    outcome = classify_submission(answer.status_code, answer.content, dict(answer.headers))
    assert outcome.outcome is (
        SubmissionClass.BUSY if row.name == "model_that_fails" else SubmissionClass.REFUSED
    )
    assert target.all_run_ids() == before


def test_a_server_that_is_down_refuses_the_connection_and_comes_back(ours: Target) -> None:
    made = ours.post(TASKS, {"prompt": "p", "url": HOST}).raise_for_status().json()["run_id"]
    assert ours.server is not None
    ours.server.kill()
    with pytest.raises(OSError, match="refused"):
        socket_to(ours)
    ours.server.start()
    assert made in ours.all_run_ids()
    until(lambda: ours.get("/v1/version").status_code == 200, 10, "its answers")


def socket_to(target: Target) -> None:
    """Connect to the server's port."""
    assert target.server is not None
    with socket.create_connection(("127.0.0.1", target.server.port), timeout=5):
        pass
