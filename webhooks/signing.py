"""The headers of a webhook that we send: signed like Skyvern's, and by standard-webhooks."""

import hashlib
import hmac
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from standardwebhooks import Webhook


def webhook_headers(
    body: bytes,
    *,
    webhook_id: str,
    key: str,
    secrets: Sequence[str],
    signed: str = "",
    now: float | None = None,
) -> dict[str, str]:
    """Return the headers of one try of a webhook.

    `x-skyvern-signature` and `x-skyvern-timestamp` are those that Skyvern sent, or made like them.
    `webhook-id`, `webhook-timestamp` and `webhook-signature` are standard-webhooks': the id is the
    same at each try of a webhook, and the timestamp is covered by the signature.

    Args:
        body: in UTF-8.
        webhook_id: lets the receiver recognize repeated webhooks.
        key: the account's API key.
        secrets: `whsec_…`; each makes a signature, none makes none.
        signed: Skyvern's signature and its timestamp, with a space between; '' = there is none.
        now: unix seconds; the local clock when None.
    """
    moment = int(time.time() if now is None else now)
    signature, _, timestamp = signed.partition(" ")
    if not signature:
        signature = hmac.new(key.encode(), body, hashlib.sha256).hexdigest()
        timestamp = str(moment)
    headers = {
        "content-type": "application/json",
        "x-skyvern-signature": signature,
        "x-skyvern-timestamp": timestamp,
        "webhook-id": webhook_id,
        "webhook-timestamp": str(moment),
    }
    if secrets:
        at, text = datetime.fromtimestamp(moment, tz=UTC), body.decode(errors="replace")
        made = (Webhook(secret).sign(webhook_id, at, text) for secret in secrets)
        headers["webhook-signature"] = " ".join(made)
    return headers
