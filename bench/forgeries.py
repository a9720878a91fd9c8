"""Requests to the receiver that Skyvern never sent: none of them may be taken."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Protocol
from urllib.parse import urlsplit

import aiohttp


class Genuine(Protocol):
    """A webhook that would be taken."""

    @property
    def job_id(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def body(self) -> bytes: ...
    @property
    def headers(self) -> dict[str, str]: ...


@dataclass(frozen=True, slots=True)
class Hostile:
    """One request; a cut one is left in the middle of its body."""

    url: str
    body: bytes
    headers: dict[str, str]
    is_cut: bool = False

    async def send(self, session: aiohttp.ClientSession) -> int:
        """Send it and return 1 if it was taken, else 0."""
        if self.is_cut:
            await self._send_half()
            return 0
        with suppress(aiohttp.ClientError):
            async with session.post(self.url, data=self.body, headers=self.headers) as answer:
                await answer.read()
                return int(answer.status < 400)
        return 0

    async def _send_half(self) -> None:
        parts = urlsplit(self.url)
        head = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        said = f"POST {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\n{head}"
        said += f"content-length: {len(self.body)}\r\n\r\n"
        with suppress(OSError):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port)
            writer.write(said.encode() + self.body[: len(self.body) // 2])
            await writer.drain()
            writer.close()
            await writer.wait_closed()


def forgeries(one: Genuine, other: Genuine, url: str) -> Iterator[Hostile]:
    """Yield requests without end, each wrong in one way, the ways in turn.

    Args:
        one, other: genuine webhooks of two jobs that run.
        url: where the gateway is.
    """
    signed = one.headers
    address, _, token = one.url.rpartition("/")
    wrong = "0" * len(token)
    for number in count():
        forged = signed | {"x-skyvern-signature": f"{number:064x}"}
        yield Hostile(one.url, one.body, forged)
        yield Hostile(one.url, b"", signed)
        yield Hostile(one.url, one.body[:-1], signed)
        yield Hostile(one.url, one.body + b" ", signed)
        yield Hostile(one.url, one.body, {"Content-Type": "application/json"})
        yield Hostile(one.url, one.body, signed | {"x-skyvern-signature": "sp\u00e4t"})
        yield Hostile(f"{address}/{wrong}", one.body, signed)
        yield Hostile(one.url + "a", one.body, signed)
        yield Hostile(one.url.replace("/default/", "/another/"), one.body, signed)
        yield Hostile(one.url.replace("/1/", "/2/"), one.body, signed)
        yield Hostile(other.url.replace(other.job_id, one.job_id), one.body, signed)
        yield Hostile(
            other.url, one.body, signed
        )  # the replay of a webhook on another job's address
        yield Hostile(f"{url}/v1/webhooks/skyvern/%00/\u00fc/{number}/x", one.body, signed)
        yield Hostile(one.url, f'{{"run_id":"tsk_{number}"}}'.encode(), signed)
        if number % 20 == 0:
            yield Hostile(one.url, one.body, signed, is_cut=True)
