"""Whether a webhook comes from Skyvern."""

import hashlib
import hmac
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from api_client import verify_webhook

KEY = "a-secret-key"
BODY = '{"run_id": "tsk_1", "title": "é"}'.encode()


def sign(body: bytes = BODY, key: str = KEY) -> str:
    return hmac.new(key.encode(), body, hashlib.sha256).hexdigest()


def test_a_known_signature_fits() -> None:
    """Computed with another tool: openssl dgst -sha256 -hmac key."""
    expected = "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8"
    fox = b"The quick brown fox jumps over the lazy dog"
    assert verify_webhook(fox, expected, "key")


@pytest.mark.parametrize("keys", [KEY, [KEY], (KEY,), ["new", KEY], [KEY, "new"], {KEY}])
def test_a_body_signed_with_one_of_the_keys_is_skyvern_s(keys: str | list[str]) -> None:
    assert verify_webhook(BODY, sign(), keys)


def test_keys_may_come_from_anything_that_gives_them() -> None:
    assert verify_webhook(BODY, sign(), iter(["new", KEY]))


@pytest.mark.parametrize("keys", ["other", ["other"], ["other", "another"], [], list(KEY)])
def test_a_body_signed_with_no_key_of_ours_is_not(keys: str | list[str]) -> None:
    assert not verify_webhook(BODY, sign(), keys)


@pytest.mark.parametrize("keys", ["", [""], ["", "other"]])
def test_an_empty_key_never_fits(keys: str | list[str]) -> None:
    assert not verify_webhook(BODY, sign(key=""), keys)


@pytest.mark.parametrize(
    "signature",
    [None, "", " ", "é" * 64, "\ud800", "\x00", sign()[:-1], sign() + "0", "sha256=" + sign()],
    ids=ascii,
)
def test_a_signature_that_is_none_does_not_fit(signature: str | None) -> None:
    assert not verify_webhook(BODY, signature, KEY)


@pytest.mark.parametrize("signature", [sign().upper(), f" {sign()}\r\n", f"\t{sign()}"], ids=ascii)
def test_a_signature_s_case_and_surroundings_do_not_matter(signature: str) -> None:
    assert verify_webhook(BODY, signature, KEY)


@pytest.mark.parametrize("body", [BODY.decode(), {"run_id": "tsk_1"}, None])
def test_a_body_that_was_decoded_is_refused(body: Any) -> None:
    with pytest.raises(TypeError, match="raw_body: expected bytes, got"):
        verify_webhook(body, sign(), KEY)


@settings(deadline=None)
@given(st.binary(min_size=1), st.data())
def test_a_body_with_one_byte_changed_does_not_fit(body: bytes, data: st.DataObject) -> None:
    signature = sign(body)
    place = data.draw(st.integers(0, len(body) - 1))
    changed = bytearray(body)
    changed[place] ^= data.draw(st.integers(1, 255))
    assert verify_webhook(body, signature, KEY)
    assert not verify_webhook(bytes(changed), signature, KEY)


@settings(deadline=None)
@given(st.text() | st.none(), st.lists(st.text(st.characters(exclude_categories=[]))))
@example("", ["\ud800"])
def test_nothing_that_is_given_makes_it_raise(signature: str | None, keys: list[str]) -> None:
    assert not verify_webhook(BODY, signature, keys)
