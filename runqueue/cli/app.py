"""The command line app. Every command is registered here.

A new one is a function in `commands/`, for which `commands/groups.py` is a model: options, queue,
table, audit log. It calls what `RunQueue` and `RemoteQueue` both have, and gets a row in
`docs/cli.md`; an audited action gets its words in `DEEDS` of `gateway/page/formatting.py`. Commands
of other packages join by entry point (`shared/plugins.py`).
"""

from importlib.metadata import version
from typing import Annotated

import typer

from runqueue.cli.commands import (
    batches,
    budgets,
    groups,
    history,
    jobs,
    keys,
    operate,
    pause,
    schedules,
    status,
    webhooks,
)
from runqueue.cli.commands.cancel import cancel
from runqueue.cli.commands.inbox import inbox
from runqueue.cli.commands.limits import limits
from runqueue.cli.results.command import results
from runqueue.cli.shared.exit_codes import EPILOG
from runqueue.cli.shared.plugins import add_commands
from runqueue.cli.submit.command import submit
from runqueue.cli.submit.validate import validate
from runqueue.cli.top.command import top

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="A resilient job queue between your services and the Skyvern run API.",
    epilog=EPILOG,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"runqueue {version('runqueue')}")
        raise typer.Exit


@app.callback()
def _main(
    *,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """A resilient job queue between your services and the Skyvern run API."""


app.command(epilog=EPILOG)(submit)
app.command()(validate)
app.command()(status.status)
app.command()(cancel)
app.command()(operate.approve)
app.command()(operate.reject)
app.command()(results)
app.command()(history.errors)
app.command()(history.chart)
app.command()(status.stats)
app.command()(top)
app.command()(pause.pause)
app.command()(pause.resume)
app.command()(limits)
app.command()(status.server)
app.add_typer(jobs.jobs, name="jobs")
app.add_typer(batches.batch, name="batch")
app.add_typer(groups.group, name="group")
app.add_typer(keys.keys, name="keys")
app.add_typer(budgets.budgets, name="budgets")
app.add_typer(schedules.schedules, name="schedules")
app.add_typer(operate.unconfirmed, name="unconfirmed")
app.add_typer(operate.dead, name="dead")
app.add_typer(operate.orphans, name="orphans")
app.add_typer(webhooks.webhooks, name="webhooks")
app.add_typer(inbox, name="inbox")
add_commands(app)


def run() -> None:
    """Run the command line."""
    app(prog_name="runqueue")
