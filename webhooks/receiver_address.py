"""Where Skyvern reports the end of one attempt: made by workers, checked by gateways.

It names the account, the job and the attempt, and ends with a token that only who has the account's
API key can make. The token stands in a URL that Skyvern shows to whoever reads the run, so it is no
proof of who sent a webhook; the signature is.
"""

import hmac
from collections.abc import Iterable
from hashlib import sha256

#: Where below the public URL; the gateway's route.
PATH = "/v1/webhooks/skyvern"

#: Hexadecimal characters of a token: 128 bits.
TOKEN_LENGTH = 32
#: Keeps these tokens apart from whatever else is made of the key.
_PURPOSE = b"runqueue webhook address 1\0"


def token(key: str, account: str, job_id: str, attempt: int) -> str:
    """Return the token of one attempt's address (HMAC-SHA256, RFC 2104, of what it names)."""
    named = f"{account}\0{job_id}\0{attempt}".encode()
    return hmac.digest(key.encode(), _PURPOSE + named, sha256).hex()[:TOKEN_LENGTH]


def is_token(given: str, keys: Iterable[str], account: str, job_id: str, attempt: int) -> bool:
    """Say whether a token was made with one of the keys, in the same time whichever it is."""
    said, fits = given.encode(errors="replace"), False
    for key in keys:
        fits |= hmac.compare_digest(token(key, account, job_id, attempt).encode(), said)
    return fits


def address(public_url: str, account: str, job_id: str, attempt: int, key: str) -> str:
    """Return the URL to which Skyvern is to report the end of an attempt's run.

    Args:
        public_url: where the gateway is reached from outside, without a slash at its end.
        account, job_id, attempt: what it is about.
        key: the account's API key.
    """
    made = token(key, account, job_id, attempt)
    return f"{public_url}{PATH}/{account}/{job_id}/{attempt}/{made}"
