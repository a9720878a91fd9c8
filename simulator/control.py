"""The simulator's own routes, which no API key guards and no fault touches."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import orjson
from aiohttp import web
from pydantic import ValidationError

from simulator.answers import ledger_line
from simulator.bodies import field_errors
from simulator.faults import RULES
from simulator.replies import RefusedError, json_reply

if TYPE_CHECKING:
    from simulator.app import Simulator

#: Lines written at once: enough to be quick, few enough to let other requests in between.
_LINES_A_CHUNK = 500


class Control:
    """Look into a simulator and steer it.

    Args:
        simulator: the one.
    """

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    async def health(self, _request: web.Request) -> web.Response:
        """`GET /_health`: it answers, so it is ready."""
        return json_reply({"status": "ok"})

    async def ledger(self, request: web.Request) -> web.StreamResponse:
        """`GET /_ledger`: one JSON line for each run really created, oldest first."""
        now = self._simulator.clock()
        # A copy: runs may be created while the lines are written.
        runs = iter(list(self._simulator.store.oldest_first()))
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        while lines := [
            orjson.dumps(ledger_line(run, now), option=orjson.OPT_APPEND_NEWLINE)
            for run in islice(runs, _LINES_A_CHUNK)
        ]:
            await response.write(b"".join(lines))
        await response.write_eof()
        return response

    async def summary(self, request: web.Request) -> web.Response:
        """`GET /_ledger/summary?window=`: the totals; the window is in seconds, 1 if not given."""
        try:
            window = float(request.query.get("window", "1"))
        except ValueError:
            window = 0
        if not window > 0:
            raise RefusedError(422, "window: a number of seconds above 0")
        simulator = self._simulator
        runs = simulator.store.oldest_first()
        summary = simulator.ledger.summary(runs, simulator.clock(), window)
        return json_reply(summary | {"webhooks": simulator.webhooks.counts})

    async def reset(self, _request: web.Request) -> web.Response:
        """`POST /_reset`: as if just started, faults included."""
        await self._simulator.reset()
        return json_reply({"status": "ok"})

    async def add_faults(self, request: web.Request) -> web.Response:
        """`POST /_faults`: set further rules, from a list."""
        try:
            rules = RULES.validate_json(await request.read())
        except ValidationError as error:
            raise RefusedError(422, field_errors(error, "body")) from None
        self._simulator.faults.add(rules)
        return json_reply(self._simulator.faults.show())

    async def show_faults(self, _request: web.Request) -> web.Response:
        """`GET /_faults`: the rules, each with its hits."""
        return json_reply(self._simulator.faults.show())

    async def clear_faults(self, _request: web.Request) -> web.Response:
        """`DELETE /_faults`: take every rule away."""
        self._simulator.faults.clear()
        return json_reply([])
