"""`python -m gateway`: serve until SIGTERM or Ctrl-C."""

import sys

import structlog
import uvloop

from config.collector import calm_collector
from config.logging import setup_logging
from config.settings import Settings, SettingsError, load_settings, unknown_variables
from gateway.auth import is_loopback
from gateway.serving import Server
from runqueue.connect import find_url
from runqueue.errors import EvictingRedis, QueueUnavailable

log = structlog.get_logger()


def main() -> None:
    """Read the settings and serve."""
    try:
        settings = load_settings()
        url = find_url(settings.redis_url)
    except (SettingsError, QueueUnavailable) as error:
        sys.exit(f"runqueue: {error}")
    setup_logging(settings.log_level)
    _warn(settings)
    try:
        uvloop.run(_serve(settings, url))
    except (EvictingRedis, QueueUnavailable) as error:
        sys.exit(f"runqueue: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


async def _serve(settings: Settings, url: str) -> None:
    server = Server(settings, url, _announce)
    calm_collector()
    await server.serve()


def _warn(settings: Settings) -> None:
    for warning in unknown_variables():
        log.warning("unknown_setting", warning=warning)
    if not settings.api_tokens and not is_loopback(settings.gateway_host):
        log.warning(
            "no_api_tokens",
            host=settings.gateway_host,
            warning="others are answered webhooks and probes only: set RUNQUEUE_API_TOKENS",
        )


def _announce(url: str) -> None:
    # The first line, which a parent process reads.
    sys.stdout.write(f"gateway: {url}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
