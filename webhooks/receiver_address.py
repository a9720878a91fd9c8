"""The URL to which Skyvern reports the end of one attempt: workers make it, gateways check it.

It names the account, the job and the attempt, and ends with a token that only a holder of the
account's API key can make. Skyvern shows the URL to all who read the run, so its token does not
prove who sent a webhook; the signature does.
"""

import hmac
from collections.abc import Iterable
from hashlib import sha256

#: The path below the public URL; the gateway's route.
PATH = "/v1/webhooks/skyvern"

#: Hexadecimal characters of a token: 128 bits.
TOKEN_LENGTH = 32
#: Keeps these tokens apart from others that are made of the key.
_PURPOSE = b"runqueue webhook address 1\0"


def token(key: str, account: str, job_id: str, attempt: int) -> str:
    """Return the token of one attempt's address (HMAC-SHA256, RFC 2104, of its other parts)."""
    named = f"{account}\0{job_id}\0{attempt}".encode()
    return hmac.digest(key.encode(), _PURPOSE + named, sha256).hex()[:TOKEN_LENGTH]


def is_token(given: str, keys: Iterable[str], account: str, job_id: str, attempt: int) -> bool:
    """Say whether a token was made with one of the keys, in the same time whichever it is."""
    said, fits = given.encode(errors="replace"), False
    for key in keys:
        fits |= hmac.compare_digest(token(key, account, job_id, attempt).encode(), said)
    return fits


def address(public_url: str, account: str, job_id: str, attempt: int, key: str) -> str:
    """Return the URL to which Skyvern reports the end of an attempt's run.

    Args:
        public_url: the gateway's URL from outside, without a slash at its end.
        account, job_id, attempt: those of the run.
        key: the account's API key.
    """
    made = token(key, account, job_id, attempt)
    return f"{public_url}{PATH}/{account}/{job_id}/{attempt}/{made}"
