"""`runqueue up` and `demo`, which join `runqueue` by the entry points `runqueue.commands`."""

import os
import sys
from ipaddress import ip_address
from pathlib import Path
from threading import Event
from typing import Annotated
from urllib.parse import urlencode, urlsplit

import typer
from dotenv import dotenv_values

from config.settings import (
    ENV_FILE,
    Settings,
    SettingsError,
    broker_url,
    load_settings,
    unknown_variables,
)
from launcher import demo as demonstration
from launcher import supervisor as stacks
from runqueue.cli.shared.exit_codes import Exit, ended, print_err
from runqueue.connection.urls import shown_url
from runqueue.embedded.secret_files import TOKEN_FILE
from runqueue.embedded.server import DIRECTORY, running_url
from runqueue.errors import MalformedURL, OtherFormat, QueueUnavailable
from runqueue.producer.queue import RunQueue

#: Seconds that a worker may take to end beyond the drain: its parent waits for so long.
STOP_SECONDS = 20.0
#: Seconds between two tries to reach Redis.
_TRY_AGAIN_SECONDS = 1.0

Workers = Annotated[
    int, typer.Option(min=1, max=64, envvar="RUNQUEUE_WORKERS", help="Worker processes.")
]


def up(*, workers: Workers = 2) -> None:
    """Run workers and a gateway against the Skyvern API until Ctrl-C or SIGTERM.

    Needs SKYVERN_API_KEY. Without RUNQUEUE_REDIS_URL the embedded server runs too, with its data in
    .runqueue/. Ended jobs are archived there, too, unless RUNQUEUE_ARCHIVE_URL is set, be it to
    nothing. With RUNQUEUE_GATEWAY_PORT=0 there is no gateway. Processes that die are restarted.
    """
    try:
        settings = load_settings()
        broker_url(settings, settings.redis_url or "redis://localhost/0")
    except SettingsError as error:
        raise ended(str(error), Exit.USAGE) from None
    for warning in unknown_variables():
        print_err(f"runqueue: {warning}")
    with stacks.Stack() as stack:
        try:
            _start(stack, settings, workers)
        except stacks.StackError as error:
            raise ended(str(error), Exit.NOT_ALL_COMPLETED) from None
        stack.keep(print_err)
        print_err("stopping: the workers finish the calls on the wire")


def demo(*, workers: Workers = 2) -> None:
    """Run the example jobs through a queue, two workers and a simulated Skyvern API."""
    raise typer.Exit(demonstration.run(workers))


def _start(stack: stacks.Stack, settings: Settings, workers: int) -> None:
    url = settings.redis_url or running_url()
    if url is None:
        url = stacks.start_server(stack, DIRECTORY, os.environ)
    typer.echo(f"queue: {shown_url(url)}")
    if not _wait_for(url, stack.ending):
        return
    environ = {**os.environ, "RUNQUEUE_REDIS_URL": url}
    given = {**dotenv_values(ENV_FILE), **os.environ}
    # Another Redis may have workers on other hosts, which a file does not serve.
    if not settings.redis_url and "RUNQUEUE_ARCHIVE_URL" not in given:
        environ["RUNQUEUE_ARCHIVE_URL"] = stacks.archive_in(DIRECTORY)
    stop_seconds = settings.drain_seconds + STOP_SECONDS
    if port := settings.gateway_port:
        # Skyvern sends webhooks to this very port: another one would not do.
        if not stacks.is_free(port):
            raise stacks.StackError(
                f"port {port} is taken, perhaps by another `runqueue up`: stop that, or set"
                " RUNQUEUE_GATEWAY_PORT (0 = no gateway)"
            )
        child = stacks.gateway(environ, stop_seconds=stop_seconds, cwd=Path.cwd())
        announced = stack.start(child, announces=True)
        typer.echo(announced)
        typer.echo(_page(announced.split()[-1], settings))
    stacks.start_workers(
        stack,
        workers,
        environ,
        metrics_port=settings.metrics_port,
        stop_seconds=stop_seconds,
        cwd=Path.cwd(),
    )


def _wait_for(url: str, ending: Event) -> bool:
    """Wait until Redis answers, and report that it does not; False = a signal came."""
    said = ""
    while not ending.is_set():
        try:
            with RunQueue(url) as queue:
                queue.accounts()
                return True
        except MalformedURL as error:
            raise ended(f"RUNQUEUE_REDIS_URL: {error.reason}", Exit.USAGE) from None
        except OtherFormat as error:
            raise ended(str(error), Exit.UNAVAILABLE) from None
        except QueueUnavailable as error:
            if error.reason != said:
                said = error.reason
                print_err(f"runqueue: {error}; waiting until it answers")
        ending.wait(_TRY_AGAIN_SECONDS)
    return False


def _page(url: str, settings: Settings) -> str:
    """Print the page's URL: as a link that logs in, if stdout is a terminal."""
    parts = urlsplit(url)
    if ip_address(parts.hostname or "").is_unspecified:  # it listens at every address
        url = f"http://localhost:{parts.port}"
    if settings.api_tokens:
        return f"page: {url}/"
    try:
        token = TOKEN_FILE.read_text().strip()
    except OSError:  # the gateway has reported why
        return f"page: {url}/"
    # Others may read a file or a log later.
    if sys.stdout.isatty():
        return f"page: {url}/login?{urlencode({'token': token})}"
    return f"page: {url}/ (log in with the token in {TOKEN_FILE})"
