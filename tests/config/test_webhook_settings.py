"""Settings about webhooks and the gateway: how lists are read, and what a wrong value is told."""

import pytest

from config.settings import SettingsError, load_settings
from runqueue.records.retention import SURELY_RETAINED_SECONDS

SECRET = "whsec_" + "a" * 32
LONGEST = SURELY_RETAINED_SECONDS


@pytest.fixture(autouse=True)
def _one_account(no_settings: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKYVERN_API_KEY", "sk-live-0123456789")


def test_lists_are_read_from_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNQUEUE_WEBHOOK_RETRY_SECONDS", f"1, 2.5,{LONGEST - 3.5}")
    monkeypatch.setenv("RUNQUEUE_WEBHOOK_SECRETS", f"{SECRET},{SECRET}")
    monkeypatch.setenv("RUNQUEUE_PREVIOUS_API_KEYS", "old,older")
    settings = load_settings()

    assert list(settings.webhook_retry_seconds) == [1, 2.5, LONGEST - 3.5]
    assert [secret.get_secret_value() for secret in settings.webhook_secrets] == [SECRET] * 2
    assert settings.all_accounts()["default"].keys == ("sk-live-0123456789", "old", "older")


def test_a_token_is_for_all_accounts_or_for_those_that_it_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(
        "RUNQUEUE_API_TOKENS", f"ops:read:{'0' * 64}, shop:enqueue+read@shop+acme+shop:{'1' * 64}"
    )

    everywhere, somewhere = load_settings().api_tokens

    assert (everywhere.scopes, everywhere.accounts) == (frozenset({"read"}), ())
    assert (somewhere.name, somewhere.digest) == ("shop", "1" * 64)
    assert somewhere.scopes == frozenset({"enqueue", "read"})
    assert somewhere.accounts == ("shop", "acme")
    assert "1" * 64 not in repr(somewhere)


def test_an_account_has_webhook_settings_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNQUEUE_ACCOUNTS__ACME__API_KEY", "k")
    monkeypatch.setenv("RUNQUEUE_ACCOUNTS__ACME__WEBHOOK_SECRETS", SECRET)
    monkeypatch.setenv("RUNQUEUE_ACCOUNTS__ACME__MAX_WEBHOOKS_PER_SECOND", "7")
    accounts = load_settings().all_accounts()

    assert not accounts["default"].webhook_secrets
    assert [one.get_secret_value() for one in accounts["acme"].webhook_secrets] == [SECRET]
    assert accounts["acme"].max_webhooks_per_second == 7


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("WEBHOOK_RETRY_SECONDS", "5,soon", "expected seconds with commas between them"),
        ("WEBHOOK_RETRY_SECONDS", "-1", "expected seconds with commas between them"),
        ("WEBHOOK_RETRY_SECONDS", "nan", "expected seconds with commas between them"),
        ("WEBHOOK_RETRY_SECONDS", f"1,{LONGEST}", "expected 6 days together at most"),
        ("WEBHOOK_SECRETS", "secret-value", "expected secrets of the form whsec_"),
        ("WEBHOOK_SECRETS", ",".join([SECRET] * 3), "expected 2 secrets at most"),
        ("PREVIOUS_API_KEYS", "sp\u00e4t", "expected API keys: printable ASCII"),
        ("PUBLIC_URL", "hooks.example.com", "expected the http"),
        ("PUBLIC_URL", "https://user:pw@hooks.example.com", "expected the http"),
        ("REDELIVER", "sometimes", "expected 'always', 'on_failure' or 'never'"),
        ("API_TOKENS", "ops:everything:" + "0" * 64, "expected <name>:<scopes>:<SHA-256"),
        ("API_TOKENS", "ops:read:token-itself", "expected <name>:<scopes>:<SHA-256"),
        ("API_TOKENS", "ops:read@:" + "0" * 64, "expected <name>:<scopes>:<SHA-256"),
        ("API_TOKENS", "ops:read@Shop:" + "0" * 64, "expected <name>:<scopes>:<SHA-256"),
        ("API_TOKENS", "ops:read@shop+:token-itself", "expected <name>:<scopes>:<SHA-256"),
        ("GATEWAY_MAX_WAITING_JOBS", "-1", "expected greater than or equal to 0"),
        ("GATEWAY_MAX_UPLOAD_LINES", "0", "expected greater than or equal to 1"),
        ("GATEWAY_MAX_UPLOAD_BYTES", "many", "expected a valid integer"),
        ("GATEWAY_PORT", "70000", "expected less than or equal to 65535"),
    ],
)
def test_a_wrong_value_is_told_by_its_variable_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(f"RUNQUEUE_{name}", value)

    with pytest.raises(SettingsError) as error:
        load_settings()

    assert str(error.value).startswith(f"RUNQUEUE_{name}: {told}")
    for secret in ("secret-value", "pw@", "token-itself"):
        assert secret not in str(error.value)


def test_no_secret_of_webhooks_is_in_a_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNQUEUE_WEBHOOK_SECRETS", SECRET)
    monkeypatch.setenv("RUNQUEUE_PREVIOUS_API_KEYS", "secret-of-before")
    settings = load_settings()

    told = f"{settings!r} {settings.all_accounts()!r}"

    assert SECRET not in told
    assert "secret-of-before" not in told
