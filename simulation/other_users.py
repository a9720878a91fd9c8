"""Other people, and other queues, that submit to the same organization of Skyvern."""

from typing import cast

import orjson

from api_client.http.messages import RequestFactory
from api_client.raw import SUBMIT_PATHS, RunKind
from simulation.plan import PlannedJob
from simulation.producers import line_of
from simulation.virtual.addresses import OTHERS_KEY, SKYVERN_URL
from simulation.world import World

#: The title of the runs of another queue.
_TITLE = "[rq:{:a>24}.1.other]"


class OtherUsers:
    """Submit runs that are not of this queue.

    Args:
        world: its Skyvern, plan and ledger.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._requests = RequestFactory(SKYVERN_URL, OTHERS_KEY)

    async def run_much(self, count: int) -> None:
        """Submit runs of another queue."""
        for number in range(count):
            title = _TITLE.format("b" * (number % 20))
            await self._submit(
                "task", {"prompt": "x", "url": "https://other.test/", "title": title}
            )

    async def run_as(self, job: PlannedJob) -> None:
        """Submit what a job asks for, more often than jobs ask for it."""
        world = self._world
        if job.has_webhook:
            return
        world.ledger.shared_numbers.add(job.body)
        world.record(f"others run what job {job.number} asks for")
        for _ in range(len(world.ledger.alike.get(job.body, (0,))) + 1):
            await self._submit(cast(RunKind, job.kind), line_of(job, 0.0)["body"])

    async def _submit(self, kind: RunKind, body: dict[str, object]) -> None:
        request = self._requests.make("POST", SUBMIT_PATHS[kind], orjson.dumps(body))
        answer = await self._world.skyvern.handle(request)
        if not answer.is_success:
            raise RuntimeError(f"others' run was answered with a {answer.status}")
