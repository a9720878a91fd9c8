"""Sends messages with Apprise, each in a thread of its own: one that hangs delays nothing."""

import asyncio
import re
import threading
from collections.abc import Sequence
from contextlib import suppress

from pydantic import SecretStr

from config.notices import SENDS, NotifyUrl, receiver_of
from notices.policy import Kind, Message

_STATUS = re.compile(r"error=(\d{3})\b")


class Sender:
    """Sends to an account's URLs.

    Args:
        urls: in their order.
    """

    def __init__(self, urls: Sequence[NotifyUrl]) -> None:
        self._urls = urls

    async def __call__(self, message: Message) -> str:
        """Send a message, however long that takes; returns as `send`."""
        loop = asyncio.get_running_loop()
        sent: asyncio.Future[str] = loop.create_future()
        url = self._urls[message.receiver - 1].url

        def work() -> None:
            why = send(url, message.title, message.body, message.kind)
            with suppress(RuntimeError):  # the loop is closed: the process ends
                loop.call_soon_threadsafe(_settle, sent, why)

        # Its own, and a daemon: the process need not wait for it to end.
        name = f"{SENDS}{message.receiver}"
        threading.Thread(target=work, name=name, daemon=True).start()
        return await sent


def _settle(sent: asyncio.Future[str], why: str) -> None:
    if not sent.done():
        sent.set_result(why)


def send(url: SecretStr, title: str, body: str, kind: Kind) -> str:
    """Send a text; returns '' once it is sent, else why it is not, without the URL."""
    try:
        receiver = receiver_of(url.get_secret_value())
        if receiver is None:
            return "Apprise takes no such URL"
        result = receiver.notify(title=title, body=body, notify_type=kind, body_format="text")
    except Exception as error:  # noqa: BLE001 - of whatever plugin; its words may hold the URL
        return f"Apprise failed ({type(error).__name__})"
    if result:
        return ""
    said = " ".join(entry.message for entry in result.logs())
    if status := _STATUS.search(said):
        return f"the receiver answered HTTP {status[1]}"
    is_away = "onnection" in said or "imeout" in said
    return "the receiver gave no answer" if is_away else "the receiver refused it"
