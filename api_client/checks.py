"""What a client is made with: arguments of the right kind, and what the environment says."""

import os
from typing import Any

from api_client.http.proxies import Proxies
from api_client.types import SkyvernEnvironment


def check_instance(name: str, value: object, kind: type[Any]) -> None:
    """Raise TypeError if an argument is given and is of another kind."""
    if value is not None and not isinstance(value, kind):
        module = kind.__module__.partition(".")[0]
        where = "" if module in {"builtins", "api_client"} else f"{module}."
        raise TypeError(f"{name}: expected {where}{kind.__name__}, got {type(value).__name__}")


def check_senders(httpx_client: object, transport: object, proxy: object) -> None:
    """Raise TypeError if more than one is given of what says how requests are sent."""
    if httpx_client is not None and transport is not None:
        raise TypeError("httpx_client and transport: expected one of them at most, got both")
    if proxy is not None and (httpx_client is not None or transport is not None):
        raise TypeError("proxy: expected none beside an httpx_client or a transport")


def check_limiter(limiter: object) -> None:
    """Raise TypeError if it is no `Limiter`."""
    if limiter is not None and not all(
        callable(getattr(limiter, name, None)) for name in ("reserve", "hold")
    ):
        raise TypeError(
            f"limiter: expected an object with reserve and hold, got {type(limiter).__name__}"
        )


def the_base_url(base_url: str | None, environment: SkyvernEnvironment | None) -> str:
    """Return the base URL: the one given, the environment's, SKYVERN_BASE_URL, the cloud's.

    A user who runs Skyvern exports both SKYVERN_* variables; that key must not go to the cloud.
    """
    check_instance("base_url", base_url, str)
    check_instance("environment", environment, SkyvernEnvironment)
    if base_url is not None:
        if not base_url.strip():
            raise ValueError("base_url: expected a URL, got an empty text")
        return base_url
    if environment is not None:
        return environment.value
    return os.environ.get("SKYVERN_BASE_URL") or SkyvernEnvironment.PRODUCTION.value


def the_key(api_key: str | None) -> str:
    """Return the key, the one given or SKYVERN_API_KEY; no message shows it."""
    check_instance("api_key", api_key, str)
    key = os.environ.get("SKYVERN_API_KEY", "").strip() if api_key is None else api_key
    if not key:
        raise ValueError("api_key: expected Skyvern's key, here or in SKYVERN_API_KEY")
    if key != key.strip() or not key.isascii() or not key.isprintable():
        raise ValueError(
            "api_key: it has blanks around it, a line break, or what a header cannot hold"
        )
    return key


def the_proxies(proxy: str | None) -> Proxies:
    """Return the proxies: the one given, or those of the environment; no message shows a URL."""
    check_instance("proxy", proxy, str)
    try:
        return Proxies.from_environment(os.environ, proxy)
    except ValueError as error:
        raise ValueError(str(error) if proxy is None else f"proxy: {error}, or none") from None
