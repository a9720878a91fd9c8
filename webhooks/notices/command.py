"""`runqueue notify test`: sends a test to each URL, and says what each answered."""

from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Literal

import typer

from config.settings import SettingsError, load_settings
from runqueue.cli.shared.exit_codes import Exit, ended
from webhooks.notices.sending import Message, send

_BODY = "`runqueue notify test` sent it: notifications arrive here."


def notify(
    what: Annotated[Literal["test"], typer.Argument(help="test: send a test to each URL.")],
) -> None:
    """Send a test to each URL of RUNQUEUE_NOTIFY_URLS, as the settings here have them.

    Exit codes: 0 each was sent, 1 one was not, 2 there is none.
    """
    del what
    try:
        accounts = load_settings().all_accounts()
    except SettingsError as error:
        raise ended(str(error), Exit.USAGE) from None
    urls = {
        (name, number): url
        for name, one in accounts.items()
        for number, url in enumerate(one.notify_urls, 1)
    }
    if not urls:
        raise ended("RUNQUEUE_NOTIFY_URLS: expected a URL to send a test to", Exit.USAGE)
    tests = [Message("", f"runqueue ({name}): a test", _BODY, "info") for name, _ in urls]
    with ThreadPoolExecutor(len(urls)) as threads:
        answers = list(threads.map(send, urls.values(), tests))
    for (name, number), why in zip(urls, answers, strict=True):
        typer.echo(f"{name}, URL {number}: {why or 'sent'}")
    if any(answers):
        raise typer.Exit(Exit.NOT_ALL_COMPLETED)
