"""The page of the HTTP API: its examples do what it says, and it leaves no call out."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from runqueue import JobState
from tests.docs.pages import Example, examples, pattern_of
from tests.gateway.gating import Desk, Door, gating, token, told
from tests.simulator.simulating import eventually

PAGE = (Path(__file__).parents[3] / "docs/http_api.md").read_text()
#: The first says what the others rest on.
SETTING_UP, *EXAMPLES = examples(PAGE, "sh")
#: What not every queue can do.
_ENDLESS = "/v1/events"


async def run(example: Example, door: Door, folder: Path) -> str:
    """What an example prints, in a folder and a shell that are as the page says."""
    assert SETTING_UP.code.count("http://127.0.0.1:8080") == 1
    set_up = SETTING_UP.code.replace("http://127.0.0.1:8080", door.url)
    shell = await asyncio.create_subprocess_exec(
        *("sh", "-eu", "-c", set_up + example.code),
        env={"PATH": os.environ["PATH"]},
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        said, _ = await asyncio.wait_for(shell.communicate(), 2 if _ENDLESS in example.code else 40)
    except TimeoutError:
        os.killpg(shell.pid, signal.SIGKILL)  # curl, too
        await shell.wait()
        assert _ENDLESS in example.code
        return ""
    assert shell.returncode == 0, example
    return said.decode()


async def _work(desk: Desk, door: Door) -> None:
    """Have every job completed, as a worker does."""
    while True:
        for job in desk.claim():
            desk.accept(job)
            await door.webhook(job, told(job, output={"price": 12.5}))
        await asyncio.sleep(0.05)


@pytest.mark.skipif(
    not (shutil.which("curl") and shutil.which("openssl")), reason="needs curl and openssl"
)
async def test_the_examples_do_what_the_page_says(
    desk: Desk, redis_url: str, tmp_path: Path
) -> None:
    tokens = (token("all", "sesame", "enqueue", "read", "operate"),)
    (tmp_path / ".runqueue").mkdir()
    (tmp_path / ".runqueue/token").write_text("sesame\n")

    async with gating(redis_url, api_tokens=tokens) as door:
        working = None
        for example in EXAMPLES:
            if "wait=" in example.code:
                working = asyncio.create_task(_work(desk, door))
            elif working:
                await eventually(lambda: desk.queue.stats()["default"].states[JobState.READY] == 0)
                await eventually(lambda: desk.queue.stats()["default"].live == 0)
            printed = await run(Example(example.line, example.code, ""), door, tmp_path)
            if example.prints:
                told_so = pattern_of(example.prints.strip())
                assert re.fullmatch(told_so, printed.strip(), re.DOTALL), (example, printed)
        assert working is not None
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working

    assert (tmp_path / "results.jsonl").read_text().count('"state":"completed"') == 3
    assert (tmp_path / "results.csv").read_text().count(",completed,") == 6


async def test_the_page_names_every_call(redis_url: str) -> None:
    async with gating(redis_url) as door:
        described = (await door.ask("GET", "/openapi.json")).body["paths"]

    for path in described:
        if "webhooks/skyvern" not in path:
            last = path.rpartition("}")[2] or path.partition("{")[0]
            assert last in PAGE, path
