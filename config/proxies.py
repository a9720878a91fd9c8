"""The settings about proxies: an account's own, and those of the environment."""

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from dotenv import dotenv_values
from pydantic import BaseModel, BeforeValidator, Field, SecretStr

from config.addresses import is_url

#: The value of an account's proxy that means "no proxy".
NO_PROXY = "none"
#: The variables of proxies, and of hosts without one; lower case goes before upper case.
_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
EXPECTED = (
    "expected the URL of a proxy such as http://proxy.example.com:3128"
    " or socks5://proxy.example.com:1080"
)
_SCHEMES = {"http", "socks5", "socks5h"}


def _proxy(value: Any) -> Any:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not isinstance(text, str) or not text:
        return text or None
    if text != NO_PROXY and not is_proxy(text):
        raise ValueError(f"{EXPECTED}, or {NO_PROXY}")
    return text


class AccountProxy(BaseModel):
    """The proxy of an account."""

    #: The proxy to its servers, instead of the environment's; `none` = no proxy. It may hold a
    #: password.
    proxy: Annotated[SecretStr | None, BeforeValidator(_proxy)] = Field(None, repr=False)

    @property
    def proxy_url(self) -> str | None:
        """The proxy's URL, or `none`; None = what the environment names."""
        return None if self.proxy is None else self.proxy.get_secret_value()


def is_proxy(text: str) -> bool:
    """Say whether a proxy's URL can be used; one without a scheme is `http`."""
    url = text if "://" in text else f"http://{text}"
    if not is_url(url, _SCHEMES):
        return False
    parts = urlsplit(url)
    host = parts.hostname or ""
    has_more = parts.path.strip("/") or parts.query or parts.fragment
    return bool(host) and host.isascii() and host.isprintable() and " " not in host and not has_more


def proxy_environment(file: str, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables of proxies, and of hosts without one.

    Args:
        file: a `.env`; the environment goes before it.
        environ: default `os.environ`.
    """
    known = {name for one in _VARIABLES for name in (one, one.upper())}
    both = {**dotenv_values(file), **(os.environ if environ is None else environ)}
    return {name: value for name, value in both.items() if name in known and value}


def wrong_proxies(environ: Mapping[str, str]) -> list[str]:
    """Return a sentence for each variable whose proxy cannot be used; none shows a value."""
    schemes = [one for one in ("http_proxy", "https_proxy") if _named(environ, one)]
    # The proxy for all schemes is not read if each has its own.
    read = schemes if len(schemes) == 2 else [*schemes, "all_proxy"]
    return [
        f"{name}: {EXPECTED}"
        for one in read
        for name, value in _named(environ, one).items()
        if not is_proxy(value.strip())
    ]


def _named(environ: Mapping[str, str], variable: str) -> dict[str, str]:
    return {name: environ[name] for name in (variable, variable.upper()) if name in environ}


def passwords_of(urls: Iterable[str | None]) -> list[str]:
    """Return the passwords of URLs, as written there and decoded."""
    found = []
    for url in filter(None, urls):
        with suppress(ValueError):
            if password := urlsplit(url if "://" in url else f"http://{url}").password:
                found += [password, unquote(password)]
    return found
