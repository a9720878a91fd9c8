"""Commands of the distribution `runqueue-server`, which join by entry point.

A command's module is imported when the command is called: another service may have a module
`worker` of its own.
"""

from collections.abc import Callable
from importlib.metadata import entry_points

import typer

from runqueue.cli.shared.exit_codes import Exit, ended
from runqueue.server_version import SERVER, server_part

_GROUP = "runqueue.commands"
_HELP = {
    "demo": "Run the example jobs through a queue, two workers and a simulated Skyvern API.",
    "doctor": "Check settings, Redis, broker, Skyvern's API, gateway and workers; say what to do.",
    "gateway": "Run a gateway: webhooks, the HTTP API and the page.",
    "ledger": "Compare our runs with those that Skyvern lists: what is missing, what is others'.",
    "notify": "Send a test to each URL of RUNQUEUE_NOTIFY_URLS: `notify test`.",
    "up": "Run workers against the Skyvern API, and the embedded server if there is no other.",
    "worker": "Run one worker against the Skyvern API.",
}
#: All arguments after the command's name go to the command, `--help` included.
_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def add_commands(app: typer.Typer) -> None:
    """Add the commands of `runqueue-server`; where it is not installed they say so."""
    offered = {entry.name for entry in entry_points(group=_GROUP)}
    for name in sorted(_HELP.keys() | offered):
        words = _HELP.get(name, "") + ("" if name in offered else f" (Needs {SERVER}.)")
        app.command(name, help=words, context_settings=dict(_PASS_ON))(_lazy(name))


def _lazy(name: str) -> Callable[[typer.Context], None]:
    def command(context: typer.Context) -> None:
        try:
            found = server_part(_GROUP, name)
        except RuntimeError as error:
            raise ended(str(error), Exit.USAGE) from None
        single = typer.Typer(
            add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
        )
        single.command()(found)
        single(context.args, prog_name=f"runqueue {name}")

    return command
