"""One simulated account: its parts, and the entry of every request."""

from __future__ import annotations

import time
from itertools import islice

import orjson
from aiohttp import web
from pydantic import ValidationError

from simulator.answers import ledger_line
from simulator.api import RunApi
from simulator.bodies import field_errors
from simulator.delivery import WebhookSender
from simulator.faults import RULES, Switchboard
from simulator.ledger import Ledger
from simulator.misbehave import Handler, misbehave
from simulator.model.options import Options
from simulator.model.releases import RELEASES
from simulator.model.runs import Run
from simulator.model.store import Clock, Store
from simulator.replies import RefusedError, json_reply, not_found
from simulator.routes import CALLS, RouteCall, is_known
from simulator.webhooks import Webhooks

_MAX_BODY_BYTES = 64 * 1024 * 1024
#: Lines written at once: enough to be quick, few enough to let other requests in between.
_LINES_A_CHUNK = 500


class Simulator:
    """A stand-in for a Skyvern account; must be made while an event loop runs.

    Args:
        options: how it behaves.
        clock: unix seconds.
    """

    def __init__(self, options: Options, clock: Clock = time.time) -> None:
        self.clock = clock
        self._options = options
        self._sender = WebhookSender(options.webhook_timeout, options.webhook_retry_delays)
        self._start_afresh()

    async def reset(self) -> None:
        """Forget every run, request, webhook and fault."""
        await self.webhooks.close()
        self._start_afresh()

    async def close(self) -> None:
        """Stop the webhooks and close their connections."""
        await self.webhooks.close()
        await self._sender.close()

    def app(self) -> web.Application:
        """The routes of the API and of the simulator's own controls."""
        app = web.Application(client_max_size=_MAX_BODY_BYTES)
        self._add_control_routes(app.router)
        self._add_api_routes(app.router)
        return app

    def _start_afresh(self) -> None:
        options, clock = self._options, self.clock
        self.faults = Switchboard(options.seed)
        self.ledger = Ledger()
        self.store = Store(options, clock, on_change=self._schedule_webhook)
        self.webhooks = Webhooks(
            self._sender, clock, self.faults, self.store, RELEASES[options.version]
        )
        self.api = RunApi(options, self.store, self.webhooks, clock)

    def _schedule_webhook(self, run: Run) -> None:
        self.webhooks.schedule(run)

    def _add_control_routes(self, router: web.UrlDispatcher) -> None:
        control = Control(self)
        for method, path, handler in (
            ("GET", "/_health", control.health),
            ("GET", "/_ledger", control.ledger),
            ("GET", "/_ledger/summary", control.summary),
            ("DELETE", "/_runs/{run_id}", control.remove_run),
            ("POST", "/_reset", control.reset),
            ("POST", "/_faults", control.add_faults),
            ("GET", "/_faults", control.show_faults),
            ("DELETE", "/_faults", control.clear_faults),
        ):
            router.add_route(method, path, _refusing(handler))

    def _add_api_routes(self, router: web.UrlDispatcher) -> None:
        for call in CALLS:
            router.add_route(call.method, call.path, self._door(call.name, self._guarded(call)))
        router.add_route("*", "/{anything:.*}", self._door("unknown", _unknown))

    def _door(self, name: str, handler: Handler) -> Handler:
        """Count a request and apply faults before it is handled."""

        async def door(request: web.Request) -> web.StreamResponse:
            self.ledger.record(name, self.clock())
            try:
                if self.faults.armed:
                    body = await request.read() if self.faults.reads_bodies else b""
                    action = self.faults.hit(request.method, name, body)
                    if action is not None:
                        return await misbehave(request, action, handler)
                return await handler(request)
            except ConnectionError:
                # The client went away before its request was read: nobody waits for the answer.
                return web.Response()

        return door

    def _guarded(self, call: RouteCall) -> Handler:
        """Pass requests with a right key on to a call of the API."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            try:
                if not call.open:
                    self._check_key(request)
                # Not bound beforehand: a reset replaces the API.
                return await call.answer(self.api, request)
            except RefusedError as refusal:
                return refusal.reply()

        return guarded

    def _check_key(self, request: web.Request) -> None:
        key = request.headers.get("x-api-key")
        if not key:
            raise RefusedError(403, "Invalid credentials")
        if key not in self._options.api_keys:
            raise RefusedError(403, "Could not validate credentials")


async def _unknown(request: web.Request) -> web.StreamResponse:
    if is_known(request.path):
        return RefusedError(405, "Method Not Allowed").reply()
    return not_found().reply()


class Control:
    """The simulator's own routes, which need no API key and have no faults.

    Args:
        simulator: the simulator.
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

    async def remove_run(self, request: web.Request) -> web.Response:
        """`DELETE /_runs/{run_id}`: as if a run that is over had never been."""
        run = self._simulator.store.get(request.match_info["run_id"])
        if run is None or not run.is_over(self._simulator.clock()):
            raise RefusedError(404, "expected a run that is over")
        self._simulator.store.remove(run)
        return json_reply({"status": "ok"})

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
        """`DELETE /_faults`: remove every rule."""
        self._simulator.faults.clear()
        return json_reply([])


def _refusing(handler: Handler) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except RefusedError as refusal:
            return refusal.reply()

    return answer
