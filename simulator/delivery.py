"""Sending one webhook: signed, and retried like the real server does."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from dataclasses import dataclass

import aiohttp

#: Statuses after which it retries, besides every 5xx and no answer at all.
_RETRIED = frozenset({403, 408, 425, 429})


@dataclass(frozen=True, slots=True)
class DeliveryAttempt:
    """The result of one try.

    Args:
        headers: as sent, the signature among them.
        status_code: the receiver's answer; None if it could not be reached.
        latency_ms: how long the try took.
        response_body: the beginning of the receiver's answer.
        error: why it could not be reached; None if it was, whatever it answered.
    """

    headers: dict[str, str]
    status_code: int | None
    latency_ms: int
    response_body: str | None
    error: str | None

    @property
    def arrived(self) -> bool:
        """Whether the receiver took it."""
        return self.status_code is not None and 200 <= self.status_code < 300

    @property
    def failure(self) -> str:
        """The failure reason that the server keeps; none if it arrived."""
        if self.arrived:
            return ""
        if self.status_code is None:
            return f"Webhook delivery failed before receiving a response: {self.error}"
        answered = f"Webhook failed with status code {self.status_code}"
        return f"{answered}, error message: {self.response_body}"

    @property
    def may_be_repeated(self) -> bool:
        """Whether the server retries after this."""
        status = self.status_code
        return not self.arrived and (status is None or status >= 500 or status in _RETRIED)


class WebhookSender:
    """Sends webhooks over one pool of connections.

    Args:
        timeout: seconds a receiver may take for one try.
        retry_delays: seconds before each further try.
    """

    def __init__(self, timeout: float, retry_delays: tuple[float, ...]) -> None:
        self._timeout = timeout
        self._retry_delays = retry_delays
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=200),
            timeout=aiohttp.ClientTimeout(total=timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def deliver(self, url: str, body: bytes, api_key: str) -> DeliveryAttempt:
        """Try until it arrives, is refused for good or the tries are used up."""
        attempt = await self.send(url, body, api_key)
        for delay in self._retry_delays:
            if not attempt.may_be_repeated:
                break
            await asyncio.sleep(delay)
            attempt = await self.send(url, body, api_key)
        return attempt

    async def send(self, url: str, body: bytes, api_key: str) -> DeliveryAttempt:
        """Try once."""
        headers = signed_headers(body, api_key)
        began = time.monotonic()
        status, text, error = None, None, None
        try:
            async with self._session.post(
                url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                status = answer.status
                text = (await answer.content.read(2048)).decode(errors="replace")
        except TimeoutError:
            status, error = None, f"Request timed out after {self._timeout:g} seconds."
        except aiohttp.ClientConnectorSSLError as problem:
            error = f"Could not reach URL: {problem.os_error}"
        except aiohttp.ClientConnectorError:
            error = "Could not reach URL: All connection attempts failed"
        except (aiohttp.ClientError, OSError, ValueError) as problem:
            # ValueError: a URL that no request can be sent to.
            status, error = None, f"Could not reach URL: {type(problem).__name__}: {problem}"
        latency_ms = round((time.monotonic() - began) * 1000)
        return DeliveryAttempt(headers, status, latency_ms, text, error)

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()


def signed_headers(body: bytes, api_key: str) -> dict[str, str]:
    """The headers of a webhook; the timestamp is not covered by the signature."""
    return {
        "x-skyvern-timestamp": str(int(time.time())),
        "x-skyvern-signature": hmac.new(api_key.encode(), body, hashlib.sha256).hexdigest(),
        "Content-Type": "application/json",
    }
