"""The headers of webhooks that we send: two kinds of signatures, each checked by a library."""

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from api_client import verify_webhook
from webhooks.signing import webhook_headers

KEY = "the-api-key"
NEW, OLD = "whsec_" + "QUJD" * 8, "whsec_" + "REVG" * 8
BODY = '{"run_id": "tsk_1",  "output": "12 €"}'.encode()


def test_without_secrets_it_is_signed_as_skyvern_signs() -> None:
    headers = webhook_headers(BODY, webhook_id="msg_1", key=KEY, secrets=(), now=1_800_000_000.9)

    assert verify_webhook(BODY, headers.pop("x-skyvern-signature"), KEY)
    assert headers == {
        "content-type": "application/json",
        "x-skyvern-timestamp": "1800000000",
        "webhook-id": "msg_1",
        "webhook-timestamp": "1800000000",
    }


def test_what_skyvern_signed_keeps_its_signature_and_timestamp() -> None:
    headers = webhook_headers(
        BODY, webhook_id="msg_1", key=KEY, secrets=[NEW], signed="abc 17", now=1_800_000_000
    )

    assert (headers["x-skyvern-signature"], headers["x-skyvern-timestamp"]) == ("abc", "17")
    assert headers["webhook-timestamp"] == "1800000000"


@pytest.mark.parametrize("secrets", [[NEW], [NEW, OLD]], ids=len)
def test_each_secret_makes_a_signature_that_the_library_takes(secrets: list[str]) -> None:
    headers = webhook_headers(BODY, webhook_id="msg_1", key=KEY, secrets=secrets)

    assert len(headers["webhook-signature"].split(" ")) == len(secrets)
    for secret in secrets:
        assert Webhook(secret).verify(BODY, headers) == {"run_id": "tsk_1", "output": "12 €"}


@pytest.mark.parametrize(
    "change",
    [{"webhook-id": "msg_2"}, {"webhook-timestamp": "1"}, {"webhook-signature": "v1,AA=="}],
)
def test_a_signature_is_of_the_id_and_the_time_too(change: dict[str, str]) -> None:
    headers = webhook_headers(BODY, webhook_id="msg_1", key=KEY, secrets=[NEW])

    with pytest.raises(WebhookVerificationError):
        Webhook(NEW).verify(BODY, headers | change)
    with pytest.raises(WebhookVerificationError):
        Webhook(OLD).verify(BODY, headers)
