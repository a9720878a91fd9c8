"""What Skyvern shows of an account's runs: its two lists, and single runs that no list explains.

`GET /v1/runs` shows tasks and workflow runs, `GET /v1/workflows/runs` workflow runs with what they
cost, those of debug sessions and those beneath tasks of engine 2.0 among them. Neither has a filter
by time: they are read from the newest run back.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

from api_client import ListClass, ListedRun, RawClient, ReadClass, RunPage, RunReading

#: Pages of a list that are read, at most, of a hundred runs each: GET /v1/runs has no more.
MAX_PAGES = 100
#: Single runs that are read, at most.
MAX_READS = 1000
#: As many as one that cannot be read counts.
_COST_OF_A_FAILURE = 100
#: Unix seconds: no run is from later, whatever a list says.
_LATEST = 1e11
#: Seconds between the tries of a call that fails in passing, unless Skyvern asks for others; and
#: the most that it may ask for.
_WAITS, _MOST_WAIT = (1.0, 4.0, 16.0), 60.0

_Answer = TypeVar("_Answer", RunPage, RunReading)


class SkyvernRuns:
    """An account's runs, as Skyvern shows them.

    Args:
        client: the account's.
        requests_per_second: how many it may make; 0 = any number.

    Attributes:
        runs: what the lists showed, by run; a run beneath a task of engine 2.0 goes into the task.
        notes: what could not be read, in words.
        reads_left: single runs that may still be read.
    """

    def __init__(self, client: RawClient, requests_per_second: float) -> None:
        self.runs: dict[str, ListedRun] = {}
        self.notes: list[str] = []
        self.reads_left = MAX_READS
        self._client = client
        self._pause = 1 / requests_per_second if requests_per_second else 0.0
        #: Workflow runs that only the second list showed, and that may be beneath tasks.
        self._alone: list[str] = []

    async def read_lists(self, since: float) -> None:
        """Read both lists, back to a time, unix seconds."""
        listed, reach = await self._list("GET /v1/runs", self._client.list_runs, since)
        name = "GET /v1/workflows/runs"
        workflow_runs, _ = await self._list(name, self._client.list_workflow_runs, since)
        self.runs = listed | workflow_runs
        if any(run.run_type == "task_v2" for run in listed.values()):
            self._alone = [
                run.run_id
                for run in workflow_runs.values()
                if run.run_id not in listed
                and not (run.debug_session_id or run.parent_run_id)
                and reach <= (run.created or 0.0)
            ]
        if self.notes and not self.runs:
            self.reads_left = 0  # it answers nothing

    async def join_tasks(self, ours: Iterable[str]) -> None:
        """Put what runs beneath tasks of engine 2.0 cost to the tasks; `ours` are no such runs."""
        unread = 0
        for run_id in set(self._alone).difference(ours):
            reading = await self.read(run_id)
            task = self.runs.get(reading.run_id or "") if reading else None
            if task is not None and task.run_id != run_id:
                run = self.runs.pop(run_id)
                self.runs[task.run_id] = replace(
                    task,
                    credits=run.credits,
                    cached_credits=run.cached_credits,
                    trigger_type=run.trigger_type,
                )
            unread += reading is None
        if unread:
            words = "may be those beneath tasks of engine 2.0, and count twice then"
            self.notes.append(f"{unread:,} workflow runs that only one list shows {words}")

    async def read(self, run_id: str) -> RunReading | None:
        """Read a single run; None = no more are read, or Skyvern did not answer."""
        if self.reads_left <= 0:
            return None
        reading = await self._answered(partial(self._client.get_run, run_id))
        is_read = reading.outcome in {ReadClass.RUN, ReadClass.NOT_FOUND}
        self.reads_left -= 1 if is_read else _COST_OF_A_FAILURE
        return reading if is_read else None

    async def _list(
        self, name: str, read: Callable[..., Awaitable[RunPage]], since: float
    ) -> tuple[dict[str, ListedRun], float]:
        """Return a list's runs, by run, and how far it was read, at least."""
        runs: dict[str, ListedRun] = {}
        reach = math.inf
        for number in range(1, MAX_PAGES + 1):
            page = await self._answered(partial(read, page=number))
            if page.outcome is not ListClass.DONE:
                why = f"HTTP {page.status_code}" if page.status_code else page.detail
                break
            if not page.runs:
                return runs, since
            runs.update((run.run_id, run) for run in page.runs)
            times = [run.created for run in page.runs if run.created and run.created < _LATEST]
            if times and max(times) < since:
                return runs, since
            reach = min([reach, *times])
        else:
            why = f"it shows {MAX_PAGES * 100:,} runs at most"
        self.notes.append(f"{name} was not read {_back_to(reach)}: {why}")
        return runs, reach

    async def _answered(self, call: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """Make a call, and again while it fails in passing."""
        for wait in (*_WAITS, None):
            await asyncio.sleep(self._pause)
            answer = await call()
            if wait is None or answer.outcome.value not in {"busy", "trouble"}:
                break
            await asyncio.sleep(min(answer.retry_after or wait, _MOST_WAIT))
        return answer


def _back_to(reach: float) -> str:
    if math.isinf(reach):
        return "at all"
    return f"further back than {datetime.fromtimestamp(reach, UTC):%Y-%m-%d %H:%M:%S} UTC"
