"""`runqueue notify test`: sends a test to each URL, and says what each answered."""

import asyncio
from typing import Annotated, Literal

import typer

from config.settings import SettingsError, load_settings
from notices.notifier import SEND_SECONDS
from notices.policy import Message
from notices.sending import Sender
from runqueue.cli.shared.exit_codes import Exit, ended


def notify(
    what: Annotated[Literal["test"], typer.Argument(help="test: send a test to each URL.")],
    *,
    account: Annotated[str, typer.Option(help="Only the URLs of this account.")] = "",
) -> None:
    """Send a test to each URL of RUNQUEUE_NOTIFY_URLS, as the settings here have them.

    Exit codes: 0 each was sent, 1 one was not, 2 there is none.
    """
    del what
    try:
        settings = load_settings()
    except SettingsError as error:
        raise ended(str(error), Exit.USAGE) from None
    accounts = {
        name: one.notify_urls
        for name, one in settings.all_accounts().items()
        if account in {"", name} and one.notify_urls
    }
    if not accounts:
        raise ended("RUNQUEUE_NOTIFY_URLS: expected a URL to send a test to", Exit.USAGE)
    sends = [
        (name, n, Sender(urls)) for name, urls in accounts.items() for n in range(1, len(urls) + 1)
    ]
    answers = asyncio.run(_tests(sends))
    for (name, n, _), why in zip(sends, answers, strict=True):
        typer.echo(f"{name}, URL {n}: {why or 'sent'}")
    if any(answers):
        raise typer.Exit(Exit.NOT_ALL_COMPLETED)


async def _tests(sends: list[tuple[str, int, Sender]]) -> list[str]:
    body = "`runqueue notify test` sent it: notifications arrive here."
    return await asyncio.gather(
        *(
            _one(sender, Message(n, "", False, (), f"runqueue ({name}): a test", body, "info"))
            for name, n, sender in sends
        )
    )


async def _one(sender: Sender, message: Message) -> str:
    try:
        return await asyncio.wait_for(sender(message), SEND_SECONDS)
    except TimeoutError:
        return f"the receiver gave no answer within {SEND_SECONDS:g} s"
