"""Who may read metrics: bearers of a token with the scope `read`, and Prometheus by its own.

That token is in a file (`RUNQUEUE_SCRAPE_TOKEN_FILE`) which Prometheus reads, too. The gateway
makes the file if it is missing; the token gives access to the metrics alone.
"""

import hmac
from pathlib import Path

from fastapi import Request

from gateway.auth.tokens import Credentials, digest_of, requires
from gateway.http.counting import taken_by
from gateway.state.state import state_of
from runqueue.embedded.secret_files import BadSecretFile, secret_in

_may_read = requires("read", all_accounts=True)


class BadTokenFile(ValueError):  # noqa: N818 - what it says is in its name
    """The file of the scrape token cannot be used; the message says why."""


def scrape_token(file: Path | None) -> str | None:
    """Return the digest of the token in a file, which is made if it is not there; None = no file.

    Args:
        file: its directory has to exist. Other users of the machine may read it: all who may read
        its directory may scrape.

    Raises:
        BadTokenFile: it cannot be read or made, or holds no token.
    """
    if file is None:
        return None
    try:
        return digest_of(secret_in(file, is_private=False))
    except BadSecretFile as error:
        raise BadTokenFile(f"RUNQUEUE_SCRAPE_TOKEN_FILE: {error}") from None


async def may_scrape(request: Request, given: Credentials) -> None:
    """Let Prometheus through by its own token, and bearers with the scope `read`."""
    gate = state_of(request)
    token = gate.scrape_token
    if token and given and hmac.compare_digest(digest_of(given.credentials), token):
        await taken_by(request).begin(gate.in_flight["the scrape token"])
        return
    await _may_read(request, given)
