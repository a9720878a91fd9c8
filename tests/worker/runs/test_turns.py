"""A long comparison lets others of its process run."""

import asyncio
from math import inf

import pytest

from worker.runs import search


@pytest.mark.parametrize(("seconds", "ran"), [(-1.0, ["other"]), (inf, [])])
async def test_others_run_once_work_has_had_its_turn(
    monkeypatch: pytest.MonkeyPatch, seconds: float, ran: list[str]
) -> None:
    monkeypatch.setattr(search, "TURN_SECONDS", seconds)
    found: list[str] = []

    async def other() -> None:
        found.append("other")

    task = asyncio.create_task(other())
    await search.LoopTurns().take()

    assert found == ran
    await task
