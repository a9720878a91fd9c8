"""A server that closes kept connections under the client, a thousand times, at every bad moment."""

import asyncio
import random
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import orjson

from api_client import AnswerLostError, NotSentError
from tests.api_client.rawserver import answering, response, serving
from tests.api_client.twins import TASK, Kind, both, twin

TIMES = 1_000
ANSWER = response(200, orjson.dumps(TASK))


class Closer:
    """A server that answers once for each connection, and closes it in one of five ways.

    Attributes:
        read: how often each prompt was read whole.
        answered: how often each was answered.
        connections: how many there were.
        tasks: what serves them.
    """

    def __init__(self) -> None:
        self.read: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.connections = 0
        self.tasks: list[asyncio.Task[None]] = []
        self._dice = random.Random(1)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (task := asyncio.current_task()) is not None:
            self.tasks.append(task)
        self.connections += 1
        way = self.connections % 5
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            prompt = await self._read(reader)
            writer.write(ANSWER)
            await writer.drain()
            self.answered[prompt] += 1
            if way == 1:  # at some moment around that of the next request
                await asyncio.sleep(self._dice.uniform(0, 0.002))
            elif way == 2:  # as the next request is being written
                await reader.readexactly(1)
                self._reset(writer)
            elif way == 3:  # when the next request was read
                await self._read(reader)
            elif way == 4:  # the same, with a RST
                await self._read(reader)
                self._reset(writer)
        writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> str:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        prompt: str = orjson.loads(await reader.readexactly(length))["prompt"]
        self.read[prompt] += 1
        return prompt

    @staticmethod
    def _reset(writer: asyncio.StreamWriter) -> None:
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()


@asynccontextmanager
async def closing() -> AsyncIterator[tuple[Closer, str]]:
    closer = Closer()
    server = await asyncio.start_server(closer.serve, "127.0.0.1", 0)
    async with server:
        yield closer, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    for task in closer.tasks:
        task.cancel()
    await asyncio.gather(*closer.tasks, return_exceptions=True)


@both
async def test_no_request_that_the_server_read_is_called_not_sent_or_sent_again(kind: Kind) -> None:
    said: dict[str, str] = {}
    async with closing() as (closer, url), twin(kind, base_url=url) as client:
        for number in range(TIMES):
            prompt = str(number)
            try:
                await client.call("run_task", prompt=prompt)
                said[prompt] = "accepted"
            except NotSentError:
                said[prompt] = "not sent"
            except AnswerLostError:
                said[prompt] = "lost"
    assert max(closer.read.values()) == 1
    for prompt, word in said.items():
        assert word != "not sent" or not closer.read[prompt]
        assert word != "accepted" or closer.answered[prompt] == 1
    # The edges were met, or this would prove nothing.
    assert list(said.values()).count("lost") > TIMES / 10
    assert closer.connections > TIMES / 10


@both
async def test_a_connection_that_the_server_says_it_closes_is_not_used_again(kind: Kind) -> None:
    async with serving(answering(200, TASK, connection="close")) as server:
        async with twin(kind, base_url=server.url) as client:
            for _ in range(20):
                await client.submit(max_retries=0)
        assert len(server.exchanges) == server.connections == 20


@both
async def test_a_connection_is_not_used_again_after_a_500(kind: Kind) -> None:
    async with serving(answering(500, {"error": "oops"})) as server:
        async with twin(kind, base_url=server.url) as client:
            for _ in range(3):
                with suppress(Exception):
                    await client.submit()
        assert server.connections == 3
