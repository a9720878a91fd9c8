"""Commands of other packages (the worker's `up`, `demo` and `doctor`), which join by entry point.

Nothing is imported before its command is called: another service may have a module `worker` of
its own, and the wheel of runqueue leaves these packages out.
"""

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points

import typer

from runqueue.cli.shared.exit_codes import Exit, tell

_GROUP = "runqueue.commands"
_HELP = {
    "demo": "Run the example jobs through a queue, two workers and a simulated Skyvern API.",
    "doctor": "Check settings, Redis, broker, Skyvern's API, gateway and workers; say what to do.",
    "up": "Run workers against the Skyvern API, and the embedded server if there is no other.",
}
#: Everything behind the command's name goes to the command, `--help` included.
_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def add_commands(app: typer.Typer) -> None:
    """Add the commands that other packages offer."""
    for entry in sorted(entry_points(group=_GROUP)):
        app.command(entry.name, help=_HELP.get(entry.name, ""), context_settings=dict(_PASS_ON))(
            _lazy(entry)
        )


def _lazy(entry: EntryPoint) -> Callable[[typer.Context], None]:
    def command(context: typer.Context) -> None:
        single = typer.Typer(
            add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
        )
        single.command()(_load(entry))
        single(context.args, prog_name=f"runqueue {entry.name}")

    return command


def _load(entry: EntryPoint) -> Callable[..., None]:
    try:
        found: Callable[..., None] = entry.load()
    except (ImportError, AttributeError) as error:
        tell(
            f"runqueue: `{entry.name}` needs the worker, which comes with the source tree or the"
            f" container image: run `make setup` there ({error})"
        )
        raise typer.Exit(Exit.USAGE) from None
    return found
