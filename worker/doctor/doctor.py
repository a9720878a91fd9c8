"""`runqueue doctor`: checks everything that a queue depends on, and says what to do.

Exit codes: 0 nothing is wrong (there may be warnings), 1 something is.
"""

import asyncio
from collections.abc import Iterator
from typing import Annotated

import orjson
import redis
import typer

from config.settings import (
    NoAccountError,
    Settings,
    SettingsError,
    broker_url,
    load_settings,
    unknown_variables,
)
from runqueue import QueueUnavailable, RunQueue
from runqueue.cli.shared.formatting import printable
from runqueue.connection.client import find_url
from runqueue.connection.redis_errors import damage_of
from runqueue.errors import MalformedURL, OtherFormat, RunQueueError
from worker.doctor import api_checks, queue_checks, redis_checks
from worker.doctor.findings import Finding, FindingLevel, ok, warning, worst, wrong
from worker.process.account import proxies_of

_COLORS = {FindingLevel.OK: "green", FindingLevel.WARNING: "yellow", FindingLevel.WRONG: "red"}
_INDENT = " " * 9


def doctor(
    *, as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False
) -> None:
    """Check settings, Redis, broker, Skyvern's API, gateway and workers, and say what to do.

    Exit codes: 0 nothing is wrong (there may be warnings), 1 something is.
    """
    findings = []
    for found in examine():
        findings.append(found)
        if not as_json:
            _show(found)
    level = worst(findings)
    if as_json:
        checks = [found.as_dict() for found in findings]
        typer.echo(orjson.dumps({"level": level.value, "checks": checks}))
    raise typer.Exit(1 if level is FindingLevel.WRONG else 0)


def _show(found: Finding) -> None:
    level = typer.style(f"{found.level.value:<8}", fg=_COLORS[found.level])
    typer.echo(f"{level} {printable(found.check)}: {printable(found.said)}")
    if found.do:
        typer.echo(f"{_INDENT}{printable(found.do)}")


def examine() -> Iterator[Finding]:
    """Yield what each check finds, as it comes."""
    settings: Settings | None = None
    try:
        settings = load_settings()
    except NoAccountError as error:
        yield _without_key(error)
    except SettingsError as error:
        yield wrong("settings", str(error), "correct it (.env.example lists every setting)")
    else:
        yield ok("settings", f"accounts: {', '.join(sorted(settings.all_accounts()))}")
    for words in unknown_variables():
        yield warning("settings", words, "correct its name, or remove it")
    if settings is not None:
        yield queue_checks.open_files(settings)
        yield from queue_checks.credits_read(settings)
    yield from _of_redis(settings)
    if settings is not None:
        yield from _of_others(settings)


def _without_key(error: NoAccountError) -> Finding:
    """Judge that there is no key here: workers that run have theirs, say in another terminal."""
    try:
        with RunQueue(find_url(None)) as queue:
            is_served = any(stats.processes for stats in queue.stats().values())
    except (RunQueueError, redis.exceptions.RedisError, OSError):
        is_served = False  # what is wrong with Redis is found, and said, next
    if not is_served:
        do = "export it in this terminal, or put it into .env (.env.example lists every setting)"
        return wrong("settings", str(error), do)
    said = "SKYVERN_API_KEY is not set here; the workers that run have theirs"
    do = (
        "export it and SKYVERN_BASE_URL in this terminal as the workers have them, or put both into"
        " .env, to have the API checked from here"
    )
    return warning("settings", said, do)


def _of_redis(settings: Settings | None) -> Iterator[Finding]:
    try:
        url = find_url(settings.redis_url if settings else None)
        client, found = redis_checks.reach(url)
    except QueueUnavailable as error:
        yield wrong("redis", str(error), "set RUNQUEUE_REDIS_URL, or run `runqueue up`")
        return
    except MalformedURL as error:
        yield wrong("redis", f"RUNQUEUE_REDIS_URL: {error.reason}", "correct it")
        return
    yield found
    if client is None:
        return
    with client:
        try:
            yield from redis_checks.check_server(client)
            yield from _of_queue(url, settings)
        except OtherFormat as error:
            yield wrong("format", *str(error).split(": ", 1))
        except (RunQueueError, redis.exceptions.RedisError, OSError) as error:
            yield wrong("redis", str(error), "see the server's log, and the rights of its user")
    if settings is not None:
        yield from _of_broker(settings, url)


def _of_queue(url: str, settings: Settings | None) -> Iterator[Finding]:
    accounts = settings.all_accounts() if settings else {}
    with RunQueue(url) as queue:
        stats = queue.stats()
        for name in sorted({*accounts, *stats}):
            try:
                yield from queue_checks.check_account(
                    queue,
                    name,
                    stats.get(name),
                    accounts.get(name),
                    has_settings=settings is not None,
                )
            except (RunQueueError, redis.exceptions.ResponseError) as error:
                if (damage := damage_of(error)) is None:
                    raise
                yield queue_checks.damaged(name, damage)


def _of_broker(settings: Settings, url: str) -> Iterator[Finding]:
    try:
        found = broker_url(settings, url)
        client = redis_checks.broker_client(found)
    except (SettingsError, MalformedURL) as error:
        yield wrong("broker", str(error), "set RUNQUEUE_BROKER_URL")
        return
    with client:
        yield from redis_checks.check_broker(client, found)


def _of_others(settings: Settings) -> Iterator[Finding]:
    accounts = settings.all_accounts()
    for name, account in accounts.items():
        proxies = proxies_of(account, settings)
        found = asyncio.run(api_checks.check_api(name, account, proxies))
        yield found
        if found.level is not FindingLevel.WRONG:
            yield asyncio.run(api_checks.check_version(name, account, proxies))
    if settings.public_url is None:
        yield ok("public URL", "none: runs are polled (RUNQUEUE_PUBLIC_URL would bring webhooks)")
        return
    name, account = next(iter(accounts.items()))
    proxies = proxies_of(account, settings)
    yield asyncio.run(api_checks.check_public_url(settings.public_url, name, account, proxies))
