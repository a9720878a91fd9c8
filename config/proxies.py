"""The settings about proxies: an account's own, and those of the environment."""

import os
from collections.abc import Iterable
from contextlib import suppress
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from dotenv import dotenv_values
from pydantic import BaseModel, BeforeValidator, Field, SecretStr

from api_client.http.proxies import NONE, parse_proxy

#: The variables of proxies, and of hosts without one; lower case goes before upper case.
_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


def _proxy(value: Any) -> Any:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not isinstance(text, str) or not text:
        return text or None
    if text != NONE:
        try:
            parse_proxy(text)
        except ValueError as error:
            raise ValueError(f"{error}, or {NONE}") from None
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


def proxy_environment(file: str) -> dict[str, str]:
    """Return the variables of proxies, and of hosts without one.

    Args:
        file: a `.env`; the environment goes before it.
    """
    known = {name for one in _VARIABLES for name in (one, one.upper())}
    both = {**dotenv_values(file), **os.environ}
    return {name: value for name, value in both.items() if name in known and value}


def passwords_of(urls: Iterable[str | None]) -> list[str]:
    """Return the passwords of URLs, as written there and decoded."""
    found = []
    for url in filter(None, urls):
        with suppress(ValueError):
            if password := urlsplit(url if "://" in url else f"http://{url}").password:
                found += [password, unquote(password)]
    return found
