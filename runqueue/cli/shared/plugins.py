"""Commands of the distribution `runqueue-server`, which join by entry point.

A command's module is imported when the command is called: another service may have a module
`worker` of its own.
"""

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points

import typer

from runqueue.cli.shared.exit_codes import Exit, ended
from runqueue.server_version import INSTALL, SERVER, version_mismatch

_GROUP = "runqueue.commands"
_HELP = {
    "demo": "Run the example jobs through a queue, two workers and a simulated Skyvern API.",
    "doctor": "Check settings, Redis, broker, Skyvern's API, gateway and workers; say what to do.",
    "gateway": "Run a gateway: webhooks, the HTTP API and the page.",
    "up": "Run workers against the Skyvern API, and the embedded server if there is no other.",
    "worker": "Run one worker against the Skyvern API.",
}
#: All arguments after the command's name go to the command, `--help` included.
_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def add_commands(app: typer.Typer) -> None:
    """Add the commands of `runqueue-server`; where it is not installed they say so."""
    offered = {entry.name: entry for entry in entry_points(group=_GROUP)}
    for name in sorted(_HELP.keys() | offered.keys()):
        entry = offered.get(name)
        command = _missing(name) if entry is None else _lazy(entry)
        words = _HELP.get(name, "") + (f" (Needs {SERVER}.)" if entry is None else "")
        app.command(name, help=words, context_settings=dict(_PASS_ON))(command)


def _missing(name: str) -> Callable[[], None]:
    def command() -> None:
        words = f"`{name}` needs {SERVER}, which is not installed here."
        raise ended(f"{words} In an environment of its own, {INSTALL}", Exit.USAGE)

    return command


def _lazy(entry: EntryPoint) -> Callable[[typer.Context], None]:
    def command(context: typer.Context) -> None:
        single = typer.Typer(
            add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
        )
        single.command()(_load(entry))
        single(context.args, prog_name=f"runqueue {entry.name}")

    return command


def _load(entry: EntryPoint) -> Callable[..., None]:
    if mismatch := version_mismatch():
        raise ended(mismatch, Exit.USAGE)
    try:
        found: Callable[..., None] = entry.load()
    except (ImportError, AttributeError) as error:
        words = f"`{entry.name}` cannot be loaded ({error}): install {SERVER} in an environment"
        more = "of its own, where no other package has modules of the same names"
        raise ended(f"{words} {more}", Exit.USAGE) from None
    return found
