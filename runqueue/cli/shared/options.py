"""Options that several commands have; some are the fields of a dataclass."""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from functools import wraps
from typing import Annotated, Any, get_type_hints

import typer

from runqueue.request.time_range import read_time

HomeAccount = Annotated[
    str | None, typer.Option(help="The account; default: the token's, or `default`.")
]
AccountArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="ACCOUNT",
        help="The account; default: the token's, or `default`.",
        show_default=False,
    ),
]


def parse_time(given: str) -> datetime:
    """Read the time of an option."""
    try:
        return read_time(given)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Since = Annotated[
    datetime | None,
    typer.Option(
        parser=parse_time,
        metavar="TIME",
        help="Only jobs that ended then or later (those that have not: that were enqueued then):"
        " 12h, 3d, today, yesterday, a date (in UTC), or ISO 8601 with a zone.",
    ),
]
Until = Annotated[
    datetime | None,
    typer.Option(parser=parse_time, metavar="TIME", help="Only before this time, as --since."),
]
OneObject = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def command_group(about: str) -> typer.Typer:
    """Return a group of commands; `about` is shown by its `--help`."""
    return typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=about)


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take dataclasses whose fields are its options.

    Args:
        command: each parameter whose type is a dataclass becomes the fields of that; these are
            typer's options and arguments, with their defaults.
    """
    hints = get_type_hints(command, include_extras=True)
    parameters = inspect.signature(command).parameters.values()
    groups = {one.name: hints[one.name] for one in parameters if is_dataclass(hints[one.name])}
    shown: list[inspect.Parameter] = []
    for one in parameters:
        if one.name not in groups:
            kind = inspect.Parameter.KEYWORD_ONLY
            shown.append(one.replace(kind=kind, annotation=hints[one.name]))
            continue
        types = get_type_hints(groups[one.name], include_extras=True)
        shown += (
            inspect.Parameter(
                each.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if each.default is MISSING else each.default,
                annotation=types[each.name],
            )
            for each in fields(groups[one.name])
        )

    @wraps(command)
    def run(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{each.name: given.pop(each.name) for each in fields(group)})
        command(**given)

    run.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    return run
