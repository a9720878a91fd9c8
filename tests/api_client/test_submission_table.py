"""What each answer to a submission means to a queue; failures of the network: the failure table."""

from dataclasses import dataclass
from typing import Any

import pytest

from api_client.answers.outcomes import Submission, SubmissionClass
from api_client.http.transport import AsyncTransport
from api_client.raw import RawClient
from tests.api_client.rawserver import answering, serving

ACCEPTED, _, BUSY, REFUSED, ACCOUNT, UNKNOWN = SubmissionClass
NOT_FOUND = {"detail": "Not Found"}
HTML = b"<html><h1>Sorry</h1></html>"
BODY_FAULT = {"loc": ["body", "prompt"], "msg": "Field required"}
OCCUPIED = "Browser session pbs_1 is already occupied by wr_2. Wait for that run to finish."
GENERATING = "Failed to generate task. Please try again later."
FILES = (
    "These file ids are not available to attach — each must name a file uploaded by this"
    " organization that is not deleted and not already attached to another run: file_1"
)


@dataclass(frozen=True)
class Row:
    status: int
    body: Any
    outcome: SubmissionClass
    headers: tuple[tuple[str, str], ...] = ()
    is_of_request: bool = False
    hints_at_run: bool = False


ROWS = [
    Row(200, {"run_id": "tsk_1", "status": "queued"}, ACCEPTED),
    Row(201, {"run_id": "wr_1", "status": "a_status_of_tomorrow"}, ACCEPTED),
    Row(200, {"run_id": "tsk_1"}, ACCEPTED),
    Row(200, b"", UNKNOWN),
    Row(200, HTML, UNKNOWN),
    Row(200, {"status": "queued"}, UNKNOWN),
    Row(200, {"run_id": None}, UNKNOWN),
    Row(200, {"run_id": 7}, UNKNOWN),
    Row(200, {"run_id": " "}, UNKNOWN),
    Row(200, [{"run_id": "tsk_1"}], UNKNOWN),
    Row(204, b"", UNKNOWN),
    Row(301, b"", ACCOUNT, (("location", "https://example.com/"),)),
    Row(302, b"", ACCOUNT, (("location", "/v2/run/tasks"),)),
    Row(304, b"", ACCOUNT),
    Row(307, b"", ACCOUNT, (("location", "https://example.com/v1/run/tasks"),)),
    Row(308, b"", ACCOUNT),
    Row(400, {"detail": "Invalid engine"}, REFUSED),
    Row(400, HTML, REFUSED),
    Row(400, {"detail": OCCUPIED}, BUSY, is_of_request=True),
    Row(409, {"detail": OCCUPIED}, REFUSED),
    Row(400, {"detail": "Missing value for parameter a in workflow run wr_1 of w"}, REFUSED),
    Row(400, {"detail": GENERATING}, BUSY, is_of_request=True),
    Row(500, {"detail": GENERATING}, BUSY, is_of_request=True),
    Row(500, {"detail": "Skyvern LLM failure to initialize task v2."}, UNKNOWN),
    Row(401, {"detail": "Unauthorized"}, ACCOUNT),
    Row(402, {"detail": "Payment required"}, ACCOUNT),
    Row(403, {"detail": "Invalid credentials"}, ACCOUNT),
    Row(404, {"detail": "Workflow wpid_1 not found"}, REFUSED),
    Row(404, NOT_FOUND, ACCOUNT),
    Row(404, HTML, ACCOUNT),
    Row(404, {"detail": "Browser session pbs_1 does not exist or is not live."}, REFUSED),
    Row(404, {"detail": "Browser profile bp_1 not found for organization o_1"}, REFUSED),
    Row(404, {"detail": "Credential cred_1 not found"}, REFUSED),
    Row(404, {"detail": "Workflow not found. workflow_permanent_id=wpid_1"}, REFUSED),
    Row(404, {"detail": "WorkflowRun wr_601 not found"}, UNKNOWN),
    Row(404, {"detail": "Task tsk_601 not found"}, UNKNOWN),
    Row(404, {"detail": "Workflow not found for workflow run wr_1"}, UNKNOWN),
    Row(404, b"", UNKNOWN),
    Row(404, b" \n", UNKNOWN),
    Row(404, {}, UNKNOWN),
    Row(404, {"input": "x"}, UNKNOWN),
    Row(404, b"404 page not found", ACCOUNT),
    Row(405, {"detail": "Method Not Allowed"}, ACCOUNT),
    Row(406, b"", UNKNOWN),
    Row(408, b"", UNKNOWN),
    Row(409, {"detail": "Session is busy"}, REFUSED),
    Row(410, {"detail": "Browser session pbs_1 is no longer usable (status: completed)."}, REFUSED),
    Row(410, b"", REFUSED),
    Row(413, HTML, REFUSED),
    Row(418, b"", UNKNOWN),
    Row(422, {"detail": [{"loc": ["body", "prompt"], "msg": "Field required"}]}, REFUSED),
    Row(422, {"detail": [{"loc": ["header", "x-max-steps-override"], "msg": "int"}]}, REFUSED),
    Row(422, {"detail": [{"loc": ["query", "template"], "msg": "bool"}, BODY_FAULT]}, REFUSED),
    Row(422, {"detail": [BODY_FAULT, {"loc": ["response", "status"], "msg": "x"}]}, UNKNOWN),
    Row(422, {"detail": [{"loc": ["url"], "msg": "Input should be a valid string"}]}, UNKNOWN),
    Row(422, {"detail": [{"loc": [], "msg": "x"}]}, UNKNOWN),
    Row(422, {"detail": [{"loc": "body", "msg": "x"}]}, UNKNOWN),
    Row(422, {"detail": []}, UNKNOWN),
    Row(422, {"detail": ["body"]}, UNKNOWN),
    Row(422, {"detail": "url: Input should be a valid string"}, UNKNOWN),
    Row(422, {"detail": FILES}, REFUSED, hints_at_run=True),
    Row(422, {"error": "Unprocessable"}, UNKNOWN),
    Row(422, HTML, UNKNOWN),
    Row(422, b"", UNKNOWN),
    Row(425, b"", UNKNOWN),
    Row(429, {"detail": "Maximum 5 requests per 60 seconds"}, BUSY),
    Row(429, b"", BUSY),
    Row(499, b"", UNKNOWN),
    Row(500, {"error": "Internal error"}, UNKNOWN),
    Row(501, b"", UNKNOWN),
    Row(502, HTML, UNKNOWN),
    Row(503, {"detail": "No run was created. Try again."}, BUSY, (("retry-after", "5"),)),
    Row(503, {"error": "No run was created"}, BUSY),
    Row(503, b"No run was created", BUSY),
    Row(503, {"detail": "Database temporarily unavailable"}, UNKNOWN),
    Row(503, {"input": "No run was created"}, UNKNOWN),
    Row(503, b"Service Unavailable", UNKNOWN),
    Row(504, HTML, UNKNOWN),
    Row(520, b"", UNKNOWN),
    Row(599, b"", UNKNOWN),
]


async def submit(url: str) -> Submission:
    async with AsyncTransport() as transport:
        return await RawClient(url, "a-key", transport).submit("task", b'{"prompt": "p"}')


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.status}-{str(row.body)[:30]}")
async def test_an_answer_means_what_the_contract_says(row: Row) -> None:
    async with serving(answering(row.status, row.body, **dict(row.headers))) as server:
        outcome = await submit(server.url)
    assert outcome.outcome is row.outcome
    assert outcome.status_code == row.status
    assert outcome.needs_key_check is (row.status in {401, 403})
    assert (outcome.is_of_request, outcome.hints_at_run) == (row.is_of_request, row.hints_at_run)


@pytest.mark.parametrize(
    ("allowed", "outcome"), [(True, REFUSED), (False, ACCOUNT), (None, ACCOUNT)]
)
async def test_a_403_is_the_request_s_fault_only_where_the_key_may_read(
    allowed: bool | None, outcome: SubmissionClass
) -> None:
    async with serving(answering(403, {"detail": "Forbidden"})) as server:
        assert (await submit(server.url)).with_key_check(allowed).outcome is outcome
