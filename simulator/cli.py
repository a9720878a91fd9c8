"""The command line."""

from typing import Annotated

import typer
import uvloop

from simulator.model.options import DEFAULT_API_KEY, OptionError, Options
from simulator.model.releases import DEFAULT_VERSION, RELEASES
from simulator.server import serve

cli = typer.Typer(add_completion=False)


def main() -> None:
    """Run the simulator until SIGTERM or Ctrl-C."""
    cli(prog_name="simulator")


@cli.command()
def start(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    api_key: Annotated[
        list[str] | None,
        typer.Option(help=f"A key to accept; may be repeated. Default: {DEFAULT_API_KEY}"),
    ] = None,
    duration: Annotated[float, typer.Option(help="Seconds a run takes.")] = 10.0,
    duration_spread: Annotated[
        float, typer.Option(help="0.2: durations lie within 20 % of --duration.")
    ] = 0.0,
    failed: Annotated[float, typer.Option(help="Share of runs that fail.")] = 0.0,
    terminated: Annotated[float, typer.Option(help="Share of runs that are terminated.")] = 0.0,
    timed_out: Annotated[float, typer.Option(help="Share of runs that time out.")] = 0.0,
    seed: Annotated[int, typer.Option(help="The same seed draws the same runs.")] = 0,
    max_requests_per_second: Annotated[
        float, typer.Option(help="Submissions accepted a second, else 429. 0: no limit.")
    ] = 0.0,
    window: Annotated[float, typer.Option(help="Seconds over which that is counted.")] = 1.0,
    max_concurrent: Annotated[
        int, typer.Option(help="Runs that work at once, others stay queued. 0: no limit.")
    ] = 0,
    keepalive_timeout: Annotated[
        float, typer.Option(help="Seconds after which an idle connection is closed.")
    ] = 75.0,
    webhook_timeout: Annotated[
        float, typer.Option(help="Seconds a webhook's receiver may take.")
    ] = 30.0,
    session_release: Annotated[
        float,
        typer.Option(help="Seconds after a run's end until its browser session may be used again."),
    ] = 1.0,
    list_supported: Annotated[
        bool, typer.Option("--list/--no-list", help="--no-list: 404, as older servers do.")
    ] = True,
    declared_parameter: Annotated[
        list[str] | None,
        typer.Option(
            help="A parameter of workflows that nobody made; may be repeated. Default: all"
        ),
    ] = None,
    any_workflow: Annotated[
        bool,
        typer.Option(
            "--any-workflow/--made-workflows",
            help="--made-workflows: 404 for a workflow that nobody made, and for profiles.",
        ),
    ] = True,
    credits_per_step: Annotated[int, typer.Option(help="Credits of a workflow run's step.")] = 0,
    version: Annotated[
        str, typer.Option(help=f"The release to imitate: {', '.join(RELEASES)}.")
    ] = DEFAULT_VERSION,
) -> None:
    """A stand-in for the Skyvern run API: same routes and shapes, real delays, faults on demand."""
    try:
        options = Options(
            api_keys=tuple(api_key or [DEFAULT_API_KEY]),
            duration=duration,
            duration_spread=duration_spread,
            failed=failed,
            terminated=terminated,
            timed_out=timed_out,
            seed=seed,
            max_requests_per_second=max_requests_per_second,
            window=window,
            max_concurrent=max_concurrent,
            keepalive_timeout=keepalive_timeout,
            webhook_timeout=webhook_timeout,
            session_release=session_release,
            list_supported=list_supported,
            declared_parameters=frozenset(declared_parameter or ()),
            any_workflow=any_workflow,
            credits_per_step=credits_per_step,
            version=version,
        )
    except OptionError as problem:
        raise typer.BadParameter(problem.reason, param_hint=problem.option) from None
    _run(options, host, port)


def _run(options: Options, host: str, port: int) -> None:
    try:
        uvloop.run(serve(options, host, port, _announce))
    except OSError as problem:
        message = f"cannot listen at {host}:{port}: {problem.strerror or problem}"
        raise typer.BadParameter(message, param_hint="--port or --host") from None


def _announce(url: str) -> None:
    # The first line, which a parent process reads to learn the port.
    typer.echo(f"simulator: {url}")
