"""The programs of the simulated processes: worker, gateway, broker, and the users' receivers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, cast
from urllib.parse import urlsplit

import redis.asyncio
from redis.exceptions import RedisError

from config.settings import Settings
from gateway.metrics import Metrics
from gateway.webhooks.receiver import Receiver
from gateway.webhooks.webhook_writer import WebhookWriter
from runqueue.records.run_figures import FigureRules
from simulation.history import EventHistory
from simulation.processes import SimulatedProcess, start_in
from simulation.server import BlockingClient, Client, SimulatedRedis
from simulation.skyvern import SimulatedSkyvern, SimulatedTransport
from webhooks.notices.sending import Message as Notification
from webhooks.receiver_address import PATH
from webhooks.sender import Outbound, Posted
from worker.runtime import ServedAccounts
from worker.stages.consumer import ConsumerEnd
from worker.ticker import Ticker

#: How many stage messages a process handles at a time: the threads of Celery's pool.
_THREADS = 13

Message = tuple[str, str, int]


class Broker:
    """The Celery broker's queue of stage messages.

    Args:
        chance: which messages meet a fault.
    """

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        #: The shares of messages that are lost, doubled, late.
        self.lost = self.doubled = self.late = 0.0
        self.is_down = False
        self.faults_met: Counter[str] = Counter()

    def send(self, stage: str, account: str, tick_us: int) -> None:
        """Accept a message.

        Raises:
            OSError: the broker is not reached.
        """
        if self.is_down:
            self.faults_met["message: refused"] += 1
            raise OSError("the broker is not reached")
        message = (stage, account, tick_us)
        draw = self._chance.random()
        if draw < self.lost:
            self.faults_met["message: lost"] += 1
            return
        draw -= self.lost
        if draw < self.late:
            self.faults_met["message: late"] += 1
            loop = asyncio.get_running_loop()
            wait = self._chance.uniform(0.5, 20)
            loop.call_later(wait, self._messages.put_nowait, message)
            return
        self._messages.put_nowait(message)
        if draw - self.late < self.doubled:
            self.faults_met["message: doubled"] += 1
            self._messages.put_nowait(message)

    async def take(self) -> Message:
        """Wait for a message."""
        return await self._messages.get()


class Receivers:
    """The users' receivers of relayed webhooks.

    Args:
        chance: which deliveries meet a fault.
        failing: the share of deliveries that fail, at any time.
    """

    def __init__(self, chance: Random, failing: float) -> None:
        self._chance = chance
        #: The share of deliveries that fail, and of those whose answers are lost.
        self.failing, self.unanswered = failing, 0.0
        #: Seconds that an answer takes longer, at most.
        self.slowness = 0.0
        #: How many deliveries each URL took.
        self.taken: Counter[str] = Counter()
        #: How many it did not take, or gave no answer to.
        self.refused: Counter[str] = Counter()
        self.faults_met: Counter[str] = Counter()
        #: How often each batch was said to be over.
        self.batches_told: Counter[str] = Counter()

    async def be_told(self, number: int, message: Notification) -> str:
        """Receive a notification once all of it is there; says why it does not."""
        del number
        await asyncio.sleep(1 + self._chance.random() * self.slowness)
        if self._chance.random() < self.failing:
            self.faults_met["receiver: refuses a notification"] += 1
            return "the receiver refused it"
        self.batches_told.update(key.partition(":")[2] for key in message.keys)
        return ""

    async def take(self, url: str) -> int | None:
        """Receive a delivery; returns the status, None if the answer is lost."""
        url, wait = url.partition("?")[0], self._chance.uniform(0.01, 0.2)
        wait += self._chance.random() * self.slowness
        draw = self._chance.random()
        await asyncio.sleep(wait)
        if draw < self.failing:
            self.faults_met["receiver: fails"] += 1
            self.refused[url] += 1
            return 500
        self.taken[url] += 1
        if draw - self.failing < self.unanswered:
            self.faults_met["receiver: an answer lost"] += 1
            self.refused[url] += 1
            return None
        return 200


class _Outbound(Outbound):
    """Sends webhooks to the simulated receivers."""

    def __init__(self, receivers: Receivers) -> None:
        super().__init__(allow_private=True)
        self._receivers = receivers

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], timeout: float
    ) -> Posted:
        """Send a webhook."""
        del body, headers, timeout
        status = await self._receivers.take(url)
        if status is None:
            return Posted(error="gave no answer: ServerDisconnectedError")
        return Posted(status, error="" if status == 200 else f"the receiver answered {status}")


class SimulatedWorker:
    """A worker process: its accounts, their tickers, and the handling of Celery's messages.

    Args:
        process: the process in which it runs.
        settings: of the worker.
        server: the queue's Redis.
        skyvern: the account's Skyvern.
        servers: those of other accounts, by API key.
        broker: the Celery broker.
        receivers: the users' receivers of webhooks.
    """

    def __init__(  # noqa: PLR0917 - one for each connection
        self,
        process: SimulatedProcess,
        settings: Settings,
        server: SimulatedRedis,
        skyvern: SimulatedSkyvern,
        servers: Mapping[str, SimulatedSkyvern],
        broker: Broker,
        receivers: Receivers,
    ) -> None:
        self.process = process
        self._settings = settings
        self._server = server
        self._skyvern = skyvern
        self._servers = servers
        self._broker = broker
        self._receivers = receivers
        self.is_started = False
        self.served: ServedAccounts
        self._tasks: list[asyncio.Task[Any]] = []
        self._free_threads = asyncio.Semaphore(_THREADS)

    def start(self) -> None:
        """Start it."""
        start_in(self.process, self._start())

    async def _start(self) -> None:
        client = cast(redis.asyncio.Redis, Client(self._server, self.process))
        self.served = ServedAccounts(
            *(self._settings, client),
            lambda _: SimulatedTransport(self._skyvern, self.process, self._servers),
        )
        await self.served.start()
        for name, account in self.served.accounts.items():
            account.outbound = _Outbound(self._receivers)
            account.notifier.deliver = self._receivers.be_told
            self._start_task(self._tick(name))
        self._start_task(self._run_messages())
        self.is_started = True

    def _start_task(self, coroutine: Any) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(coroutine))

    async def stop(self) -> None:
        """Stop it gracefully, as SIGTERM does."""
        self.served.stopping = True
        await self.served.stop(self._settings.drain_seconds)
        self.process.kill()  # it exits

    async def _tick(self, account: str) -> None:
        client = cast(redis.Redis, BlockingClient(self._server, self.process))
        ticker = Ticker(account, self.served, self._broker.send, client)
        while not self.served.stopping:
            try:
                keys = ticker.keys
                ticker.act(await self._server.pop(self.process, keys, ticker.wait), keys)
            except Exception as error:  # noqa: BLE001 - as `TickerThread` does
                await asyncio.sleep(ticker.pause_after(error))

    async def _run_messages(self) -> None:
        while True:
            await self._free_threads.acquire()
            message = await self._broker.take()
            asyncio.get_running_loop().create_task(self._run_message(*message)).add_done_callback(
                lambda _: self._free_threads.release()
            )

    async def _run_message(self, stage: str, account: str, tick_us: int) -> None:
        await asyncio.sleep(self.process.chance.uniform(0.001, 0.02))
        try:
            if stage == "sweep":
                await self.served.sweep(account)
                return
            ended, server_us = await self.served.consume(stage, account, tick_us)
            if ended is ConsumerEnd.SUCCESSOR:
                self._broker.send(stage, account, server_us)
        except (RedisError, OSError):  # Celery logs it
            return


class SimulatedGateway:
    """A gateway process: its receiver of Skyvern's webhooks.

    Args:
        process: the process in which it runs.
        settings: of the gateway.
        server: the queue's Redis.
    """

    def __init__(
        self, process: SimulatedProcess, settings: Settings, server: SimulatedRedis
    ) -> None:
        self.process = process
        self._server = server
        #: Whether it acknowledged a webhook that Redis did not take.
        self.acknowledged_nothing = False
        client = cast(redis.asyncio.Redis, Client(server, process))
        accounts = settings.all_accounts()
        self._receiver = Receiver(
            {name: account.keys for name, account in accounts.items()},
            {name: WebhookWriter(name, client) for name in accounts},
            Metrics(accounts),
            FigureRules(settings.credits_per_step, settings.run_details),
        )

    async def take(self, path: str, body: bytes, headers: Mapping[str, str]) -> int | None:
        """Receive a webhook; returns the status, None if no answer comes."""
        if self.process.is_dead:
            return None
        recorded = self._server.answered[self.process, "record_webhook"]
        task = start_in(self.process, self._answer(path, body, headers))
        done, _ = await asyncio.wait([task], timeout=30)
        status = task.result() if done else None
        if status is not None and status < 300:
            answered = self._server.answered[self.process, "record_webhook"]
            self.acknowledged_nothing |= answered == recorded
        return status

    async def _answer(self, path: str, body: bytes, headers: Mapping[str, str]) -> int:
        account, job_id, attempt, token = path.removeprefix(f"{PATH}/").split("/")
        names = {"account": account, "job_id": job_id, "attempt": attempt, "token": token}
        status = 0

        async def receive() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]

        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "path_params": names,
            "client": ("192.0.2.1", 1),
            "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
        }
        await self._receiver(scope, receive, send)
        return status


def router(  # noqa: PLR0917 - one for each end of a webhook's way
    gateways: list[SimulatedGateway],
    receivers: Receivers,
    public_url: str,
    chance: Random,
    history: EventHistory,
    named: Callable[[str], str],
    fail: Callable[[str], None],
    on_answered: Callable[[int, str, bytes], None],
) -> Callable[[str, bytes, Mapping[str, str]], Any]:
    """Return the function that sends Skyvern's webhooks to a gateway, or to a user's receiver.

    Args:
        gateways, receivers: the processes that take them.
        public_url: the gateways'.
        chance: which gateway takes one.
        history: records the answers of gateways.
        named: gives the names of the jobs in a text, for the history.
        fail: called with what does not hold.
        on_answered: called with status, path and body of each that a gateway accepts or refuses.
    """

    async def post(url: str, body: bytes, headers: Mapping[str, str]) -> int | None:
        if not url.startswith(public_url):
            return await receivers.take(url)
        gateway = chance.choice(gateways)
        status = await gateway.take(urlsplit(url).path, body, headers)
        history.record(gateway.process.name, f"webhook {status}{named(url)}")
        if status is not None and status < 500:
            on_answered(status, urlsplit(url).path, body)
        if gateway.acknowledged_nothing:
            fail("I4: a webhook is acknowledged, and was not recorded")
        return status

    return post
