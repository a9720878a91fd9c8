"""`runqueue worker` and `runqueue gateway`: this process becomes one of them.

The new process never imports from the working directory (`-P`): a service may have a `worker` or
a `config` of its own there.
"""

import os
import sys
from typing import Annotated

import typer

Hostname = Annotated[
    str, typer.Option(help="The worker's name in Celery; %h is this machine's.", show_default=False)
]


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of ours, or of a dependency.

    Args:
        module: its name, as behind `python -m`.
        arguments: those of the module.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def worker(*, hostname: Hostname = "") -> None:
    """Run one worker against the Skyvern API until Ctrl-C or SIGTERM.

    Needs SKYVERN_API_KEY. Settings come from the environment and from .env. The first SIGTERM has
    it finish the calls on the wire.
    """
    _become(module_command("worker", *(["--hostname", hostname] if hostname else [])))


def gateway() -> None:
    """Run a gateway until Ctrl-C or SIGTERM: webhooks, the HTTP API and the page.

    Needs SKYVERN_API_KEY. Settings come from the environment and from .env:
    RUNQUEUE_GATEWAY_HOST, RUNQUEUE_GATEWAY_PORT, …
    """
    _become(module_command("gateway"))


def _become(command: list[str]) -> None:
    os.execv(command[0], command)  # noqa: S606 - this interpreter, our module
