"""Who may read metrics: bearers of a token with the scope `read`, and Prometheus by its own.

That token stands in a file (`RUNQUEUE_SCRAPE_TOKEN_FILE`) which Prometheus reads, too. The gateway
makes it where there is none, so that nobody has to think one up; it opens the metrics alone.
"""

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

from fastapi import Request

from gateway.auth import Credentials, requires
from gateway.gate import gate_of

_may_read = requires("read", all_accounts=True)
#: Characters that a token has at least.
_SHORTEST = 16


class BadTokenFile(ValueError):  # noqa: N818 - what it says is in its name
    """The file of the scrape token cannot be used; the message says why."""


def scrape_token(file: Path | None) -> str | None:
    """Return the digest of the token in a file, which is made if it is not there; None = no file.

    Args:
        file: its directory has to be there. The file is for others of the machine to read: who may
            see its directory may scrape.

    Raises:
        BadTokenFile: it cannot be read or made, or holds no token.
    """
    if file is None:
        return None
    try:
        _make(file)
        token = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise BadTokenFile(f"RUNQUEUE_SCRAPE_TOKEN_FILE: cannot use {file}: {why}") from None
    if len(token) < _SHORTEST or not token.isascii():
        raise BadTokenFile(
            f"RUNQUEUE_SCRAPE_TOKEN_FILE: expected {_SHORTEST} or more characters of ASCII in"
            f" {file}; remove it, and one is made"
        )
    return _digest(token)


async def may_scrape(request: Request, given: Credentials) -> None:
    """Let Prometheus through by its own token, and who may read."""
    token = gate_of(request).scrape_token
    if token and given and hmac.compare_digest(_digest(given.credentials), token):
        return
    await _may_read(request, given)


def _make(file: Path) -> None:
    """Make the file, whole or not at all: another gateway may be making it, too."""
    if file.exists():
        return
    fresh = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    fresh.write_text(f"{secrets.token_urlsafe(32)}\n")
    fresh.chmod(0o644)
    with suppress(FileExistsError):
        os.link(fresh, file)
    fresh.unlink()


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("latin-1", "replace")).hexdigest()
