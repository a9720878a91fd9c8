"""How a gateway ends while requests are open."""

from __future__ import annotations

from tests.gateway.gating import Desk, gating
from tests.gateway.uploads import begin, lines, text
from tests.simulator.simulating import eventually


async def test_an_upload_that_is_cut_off_by_the_end_is_abandoned_before_redis_is_left(
    desk: Desk, redis_url: str
) -> None:
    async with gating(redis_url, drain_seconds=1) as door:
        writer = await begin(door.url, text(lines(2_500)))
        await eventually(desk.batches)

    assert desk.abandoned() == 1
    writer.close()
