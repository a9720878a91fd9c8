"""Checking that a webhook comes from Skyvern."""

import hashlib
import hmac
from collections.abc import Iterable


def verify_webhook(
    raw_body: bytes | bytearray | memoryview, signature: str | None, keys: str | Iterable[str]
) -> bool:
    """Say whether a webhook's body was signed with one of the keys.

    The signature is the header `x-skyvern-signature`: hex HMAC-SHA256 of the body under the API
    key. `x-skyvern-timestamp` is not signed and proves nothing, so a replay passes: tell one by the
    run's id.

    Args:
        raw_body: the body as it came, before any parsing.
        signature: the header; None = it was missing.
        keys: the account's API key, or several while keys are rotated.

    Raises:
        TypeError: a body that is no bytes: text was decoded, and is not what was signed.

    Returns:
        False for anything wrong, a malformed signature included. It takes the same time wherever
        the signature differs, and whichever key fits.
    """
    if not isinstance(raw_body, bytes | bytearray | memoryview):
        raise TypeError(f"raw_body: expected bytes, got {type(raw_body).__name__}")
    given = (signature or "").strip().lower().encode(errors="replace")
    fits = False
    for key in [keys] if isinstance(keys, str) else keys:
        # A missing key would make a signature that anybody can compute.
        if key:
            expected = (
                hmac.new(key.encode(errors="surrogatepass"), raw_body, hashlib.sha256)
                .hexdigest()
                .encode()
            )
            fits |= hmac.compare_digest(expected, given)
    return fits
