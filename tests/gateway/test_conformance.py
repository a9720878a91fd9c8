"""The OpenAPI file against the gateway: schemathesis makes up requests and checks the answers."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from gateway.api import jobs
from gateway.api.job_schema import EXAMPLE
from gateway.api.schemas import EXAMPLE_BATCH
from runqueue import RunQueue
from tests.gateway.gating import gating, token

ROOT = Path(__file__).parents[2]
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "ignored_auth",
)
#: It goes on for as long as one listens.
LEFT_OUT = "/v1/events"


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_no_request_is_answered_otherwise_than_described(
    queue: RunQueue, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The ids in the examples are those of something.
    queue.enqueue_many([EXAMPLE])
    monkeypatch.setattr("runqueue.ids.new_id", lambda _: EXAMPLE_BATCH)
    queue.open_batch("prices")
    monkeypatch.undo()
    monkeypatch.setattr(jobs, "LONGEST_WAIT", 0.05)
    tokens = (token("all", "sesame", "enqueue", "read", "operate"),)

    async with gating(redis_url, api_tokens=tokens) as door:
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{door.url}/openapi.json"]
        command += ["--header", "Authorization: Bearer sesame", "--seed", "1"]
        command += ["--phases", "examples,coverage,fuzzing", "--max-examples", "8"]
        command += ["--checks", ",".join(CHECKS), "--request-timeout", "20"]
        command += ["--exclude-path", LEFT_OUT]
        made = await asyncio.create_subprocess_exec(
            *command,
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "SCHEMATHESIS_HOOKS": "tests.gateway.lines_sent",
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said = (await made.communicate())[0].decode()

    assert made.returncode == 0, said[-20_000:]
    assert " passed" in said
