"""The TypeScript client: made of the OpenAPI file that the gateway serves, and tried on Node."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.typescript import (
    ANSWERS,
    CLIENT,
    OPENAPI,
    PROBLEMS,
    ROOT,
    TYPES,
    answers_text,
    head,
    openapi_text,
    problems_text,
    types_text,
)
from webhooks.signing import webhook_headers

#: Uses the types of calls, and that nobody answers at port 1.
SCRIPT = """
import { RunqueueClient } from "runqueue-client";
const client = new RunqueueClient({ url: "http://127.0.0.1:1", patienceMs: 0 });
try {
  const job = await client.GET("/v1/jobs/{job_id}", { params: { path: { job_id: "x" } } });
  console.log(job.attempts.toFixed());
  // @ts-expect-error
  job.nothing;
} catch (error) {
  console.log((error as Error).name);
}
"""


def test_what_is_made_of_the_gateway_is_up_to_date() -> None:
    openapi = OPENAPI.read_text()
    assert openapi == openapi_text(), "run `make typescript`"
    assert PROBLEMS.read_text() == problems_text(openapi), "run `make typescript`"
    assert ANSWERS.read_text() == answers_text(openapi), "run `make typescript`"
    assert TYPES.read_text().startswith(head(openapi)), "run `make typescript`"


def test_the_package_has_the_license() -> None:
    assert (CLIENT / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_its_test_verifies_what_webhooks_are_signed_with() -> None:
    text = (CLIENT / "test/gateway.test.ts").read_text()
    signed = webhook_headers(
        b'{"run_id":"tsk_1","status":"completed"}',
        webhook_id="msg_1",
        key="key",
        secrets=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
        now=1893456000,
    )
    assert all(f'"{signed[name]}"' in text for name in ("webhook-id", "webhook-signature"))


def run(*command: str | Path, cwd: Path = CLIENT) -> str:
    """Run a command that has to succeed; what it writes is shown."""
    made = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "PYTHON": sys.executable},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(made.stdout)
    assert made.returncode == 0
    return made.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node 20.6 or later")
def test_on_node_it_does_what_it_says(tmp_path: Path) -> None:
    run("npm", "ci", "--no-audit", "--no-fund")
    assert TYPES.read_text() == types_text(OPENAPI.read_text()), "run `make typescript`"
    run("npm", "test")
    run("npm", "pack", "--pack-destination", tmp_path)
    (package,) = tmp_path.glob("*.tgz")
    (tmp_path / "package.json").write_text("{}")
    # Linked, as pnpm does it: a package finds only what it declares.
    run("npm", "install", "--install-strategy=linked", package, cwd=tmp_path)
    installed = tmp_path / "node_modules/runqueue-client"
    assert {path.name for path in installed.iterdir()} >= {"LICENSE", "README.md", "dist"}
    script = tmp_path / "script.mts"
    script.write_text(SCRIPT)
    for module, resolution in (("node16", "node16"), ("es2022", "bundler")):
        options = ("--module", module, "--moduleResolution", resolution, "--target", "es2022")
        run("npx", "tsc", "--strict", *options, script)
        assert run("node", "script.mjs", cwd=tmp_path) == "GatewayUnavailable\n"
