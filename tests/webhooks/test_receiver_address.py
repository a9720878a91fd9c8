"""The address at which Skyvern reports the end of one attempt."""

import pytest

from webhooks.receiver_address import TOKEN_LENGTH, address, is_token, token

JOB = "nma3otfnxlrcktlsz4d7qmri"


def test_an_address_names_account_job_and_attempt_and_ends_with_their_token() -> None:
    made = token("key", "acme", JOB, 2)

    assert len(made) == TOKEN_LENGTH
    assert address("https://hooks.test", "acme", JOB, 2, "key") == (
        f"https://hooks.test/v1/webhooks/skyvern/acme/{JOB}/2/{made}"
    )


@pytest.mark.parametrize("keys", [["key"], ["other", "key"], ["key", "other"]])
def test_a_token_of_any_of_the_account_s_keys_is_right(keys: list[str]) -> None:
    assert is_token(token("key", "acme", JOB, 1), keys, "acme", JOB, 1)


@pytest.mark.parametrize(
    ("account", "job_id", "attempt", "keys"),
    [
        ("beta", JOB, 1, ["key"]),
        ("acme", "nma3jcp6kq422fxb3e5mb7no", 1, ["key"]),
        ("acme", JOB, 2, ["key"]),
        ("acme", JOB, 1, ["other"]),
        ("acme", JOB, 1, []),
    ],
)
def test_a_token_is_right_for_what_it_was_made_for_alone(
    account: str, job_id: str, attempt: int, keys: list[str]
) -> None:
    assert not is_token(token("key", "acme", JOB, 1), keys, account, job_id, attempt)


@pytest.mark.parametrize("given", ["", "é", "0" * TOKEN_LENGTH, "\ud800"])
def test_what_is_no_token_is_none(given: str) -> None:
    assert not is_token(given, ["key"], "acme", JOB, 1)
