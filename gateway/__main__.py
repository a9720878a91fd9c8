"""`python -m gateway`: serve until SIGTERM or Ctrl-C."""

import argparse
import socket
import sys

import structlog
import uvloop

from config.collector import calm_collector
from config.logging import log_what_python_prints, setup_logging
from config.settings import (
    Settings,
    SettingsError,
    load_settings,
    not_configured,
    unknown_variables,
)
from config.tracing import setup_tracing
from gateway.auth.metrics_token import BadTokenFile
from gateway.server import Server, listen
from runqueue.connection.client import find_url
from runqueue.errors import AmbiguousAccounts, EvictingRedis, OtherFormat, QueueUnavailable
from runqueue.request.request_checks import use_checks
from runqueue.server_version import version_mismatch
from runqueue.store.accounts import check_names

log = structlog.get_logger()

#: Seconds after which a thread that checks a body gives the event loop way. With Python's 5 ms a
#: neighbour's p99 beside uploads was 117 ms, with this 27.
SWITCH_SECONDS = 0.001


def main() -> None:
    """Read the settings and serve."""
    argparse.ArgumentParser(
        "python -m gateway",
        description="Take Skyvern's webhooks. Settings come from the environment and from .env:"
        " RUNQUEUE_GATEWAY_HOST, RUNQUEUE_GATEWAY_PORT, RUNQUEUE_REDIS_URL, SKYVERN_API_KEY, …",
    ).parse_args()
    if mismatch := version_mismatch():
        sys.exit(f"runqueue: {mismatch}")
    try:
        settings = load_settings()
        check_names(settings.all_accounts())
        url = find_url(settings.redis_url)
    except (SettingsError, AmbiguousAccounts, QueueUnavailable) as error:
        raise not_configured(error) from None
    setup_logging(settings.log_level, settings.secrets(url))
    log_what_python_prints()
    use_checks(settings.request_checks)
    last_traces = setup_tracing("runqueue-gateway")
    _warn(settings)
    try:
        # Before it registers with Redis: a gateway that cannot listen is none.
        sockets = listen(settings.gateway_host, settings.gateway_port)
        uvloop.run(_serve(settings, url, sockets))
    except (AmbiguousAccounts, EvictingRedis, OtherFormat, QueueUnavailable, BadTokenFile) as error:
        sys.exit(f"runqueue: {error}")
    except socket.gaierror:
        sys.exit(
            f"runqueue: RUNQUEUE_GATEWAY_HOST: expected an address of this machine,"
            f" got {settings.gateway_host}"
        )
    except OSError as error:
        where = f"{settings.gateway_host}:{settings.gateway_port}"
        sys.exit(
            f"runqueue: cannot listen at {where}: {error.strerror or error}"
            " (RUNQUEUE_GATEWAY_HOST, RUNQUEUE_GATEWAY_PORT)"
        )
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        last_traces()


async def _serve(settings: Settings, url: str, sockets: list[socket.socket]) -> None:
    sys.setswitchinterval(SWITCH_SECONDS)
    server = Server(settings, url, _announce)
    calm_collector()
    await server.serve(sockets)


def _warn(settings: Settings) -> None:
    for warning in unknown_variables():
        log.warning("unknown_setting", warning=warning)
    named = {account for token in settings.api_tokens for account in token.accounts}
    if strange := sorted(named - settings.all_accounts().keys()):
        log.warning(
            "unknown_accounts",
            accounts=strange,
            warning="RUNQUEUE_API_TOKENS names accounts that have no API key here",
        )


def _announce(url: str) -> None:
    # The first line, which a parent process reads.
    sys.stdout.write(f"gateway: {url}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
