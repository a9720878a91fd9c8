"""Sends messages with Apprise, each in a thread of its own: one that hangs delays nothing."""

import asyncio
import re
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Literal, NamedTuple

from tenacity import Retrying, retry_if_result, stop_after_attempt, wait_exponential

from config.notices import NotifyUrl, receiver_of

#: Tries of one message to one URL, and seconds before the second; Apprise ends each within 10 s.
TRIES, PAUSE_SECONDS = 3, 2.0
_STATUS = re.compile(r"error=(\d{3})\b")

Kind = Literal["info", "success", "warning", "failure"]


class Message(NamedTuple):
    """One message.

    Args:
        event: what it is about.
        title, body, kind: as Apprise takes them.
        keys: what it reports, as `notices.lua` has them.
    """

    event: str
    title: str
    body: str
    kind: Kind
    keys: Sequence[str] = ()


class UrlSender:
    """Sends to an account's URLs.

    Args:
        urls: in their order.
    """

    def __init__(self, urls: Sequence[NotifyUrl]) -> None:
        self._urls = urls
        self._threads: dict[tuple[int, str], threading.Thread] = {}

    async def __call__(self, number: int, message: Message) -> str:
        """Send a message to the URL of that number, 1 = the first; returns as `send`."""
        before = self._threads.get((number, message.event))
        if before is not None and before.is_alive():
            return "an earlier message still hangs"
        loop = asyncio.get_running_loop()
        sent: asyncio.Future[str] = loop.create_future()

        def work() -> None:
            again = Retrying(
                stop=stop_after_attempt(TRIES),
                wait=wait_exponential(multiplier=PAUSE_SECONDS),
                retry=retry_if_result(bool),
                retry_error_callback=lambda state: state.outcome and state.outcome.result(),
            )
            why = again(send, self._urls[number - 1], message)
            with suppress(RuntimeError):  # the loop is closed: the process ends
                loop.call_soon_threadsafe(lambda: None if sent.done() else sent.set_result(why))

        # A daemon: the process need not wait for it to end.
        thread = threading.Thread(target=work, daemon=True)
        self._threads[number, message.event] = thread
        thread.start()
        return await sent


def send(url: NotifyUrl, message: Message) -> str:
    """Try to send a message; returns '' once it is sent, else why it is not, without the URL."""
    try:
        receiver = receiver_of(url.url.get_secret_value())
        result = receiver.notify(*(message.body, message.title, message.kind), body_format="text")
    except Exception as error:  # noqa: BLE001 - of whatever plugin; its words may hold the URL
        return f"Apprise failed ({type(error).__name__})"
    if result:
        return ""
    said = " ".join(entry.message for entry in result.logs())
    status = _STATUS.search(said)
    return f"the receiver answered HTTP {status[1]}" if status else "the receiver did not take it"
