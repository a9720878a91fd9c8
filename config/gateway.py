"""The settings of the gateway: where it listens, its public URL, its tokens and limits."""

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, cast, get_args

from pydantic import BaseModel, BeforeValidator, Field
from pydantic_settings import NoDecode

from config.addresses import is_url
from runqueue.ids import NAME

Scope = Literal["enqueue", "read", "operate"]

_PRINTABLE = re.compile(r"[!-~]+")
#: name:scopes[@accounts]:digest
_TOKEN = re.compile(rf"({NAME}):([a-z+]+)(?:@({NAME}(?:\+{NAME})*))?:([0-9a-f]{{64}})")


class ApiToken(NamedTuple):
    """A token of the gateway, and what its bearer may do.

    Args:
        name: the bearer's name in audits.
        scopes: what the bearer may do.
        digest: SHA-256 of the token, in hexadecimal: the token itself is not kept.
        accounts: those that the bearer may see, the default one first; none = all.
    """

    name: str
    scopes: frozenset[Scope]
    digest: str
    accounts: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"ApiToken({self.name!r}, {sorted(self.scopes)}, {list(self.accounts)})"


def _public(value: Any) -> Any:
    given = str(value or "").strip()
    if not given:
        return None
    if not _PRINTABLE.fullmatch(given) or not is_url(given, {"http", "https"}, bare=True):
        raise ValueError(
            "expected the http(s) URL at which Skyvern reaches the gateway, such as"
            " https://hooks.example.com"
        )
    return given.rstrip("/")


def _tokens(value: Any) -> Any:
    """Read `name:scope+scope@account+account:sha256`, with commas between them."""
    if not isinstance(value, str):
        return value
    found = []
    for part in filter(None, (part.strip() for part in value.split(","))):
        match = _TOKEN.fullmatch(part)
        scopes = frozenset(match[2].split("+")) if match else frozenset()
        if not match or not scopes <= set(get_args(Scope)):
            raise ValueError(
                "expected <name>:<scopes>:<SHA-256 of the token in hex>, the scopes being"
                " enqueue, read and operate with + between them, for some accounts alone"
                " <scopes>@<account>+<account>, and tokens separated by commas"
            )
        accounts = tuple(dict.fromkeys(match[3].split("+"))) if match[3] else ()
        found.append(ApiToken(match[1], cast(frozenset[Scope], scopes), match[4], accounts))
    return tuple(found)


def _networks(value: Any) -> Any:
    """Read addresses and networks, with commas between them."""
    if not isinstance(value, str):
        return value
    try:
        return tuple(str(ip_network(part.strip())) for part in value.split(",") if part.strip())
    except ValueError:
        raise ValueError(
            "expected addresses and networks with commas between them, such as"
            " 127.0.0.1,172.16.0.0/12"
        ) from None


PublicUrl = Annotated[str | None, BeforeValidator(_public)]
ApiTokens = Annotated[tuple[ApiToken, ...], NoDecode, BeforeValidator(_tokens)]
Networks = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_networks)]


class GatewaySettings(BaseModel):
    """The settings of the gateway; workers read its public URL."""

    gateway_host: str = "127.0.0.1"
    gateway_port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    #: The URL at which Skyvern reaches the gateway; if set, submissions request webhooks to it.
    public_url: PublicUrl = None
    #: Proxies whose X-Forwarded-For and X-Forwarded-Proto are believed; none = nobody's.
    gateway_proxies: Networks = ()
    #: Tokens of the callers; none = the one that the gateway makes (`gateway/auth/local_token.py`).
    api_tokens: ApiTokens = ()
    #: Jobs of one token that may wait in an account, and bytes of their requests; 0 = no limit.
    gateway_max_waiting_jobs: Annotated[int, Field(ge=0, le=10**9)] = 0
    gateway_max_waiting_bytes: Annotated[int, Field(ge=0, le=2**50)] = 0
    #: Lines of one upload, and bytes of it, decompressed.
    gateway_max_upload_lines: Annotated[int, Field(ge=1)] = 10_000_000
    gateway_max_upload_bytes: Annotated[int, Field(ge=1)] = 4 * 1024**3
    #: The file of the token for the metrics alone; made if it is missing.
    scrape_token_file: Path | None = None
