"""The settings: their defaults, their accounts, and what a wrong value is told."""

import re
from pathlib import Path

import pytest
from annotated_types import Ge

from api_client.http import transport
from api_client.http.proxies import Proxies
from config.settings import Settings, SettingsError, broker_url, load_settings, unknown_variables
from runqueue.connection.urls import several
from worker.stages import reconcile

KEY = "sk-live-0123456789"


@pytest.fixture(autouse=True)
def _one_account(no_settings: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKYVERN_API_KEY", KEY)


def test_the_example_file_names_every_setting_with_its_default() -> None:
    example = (Path(__file__).parents[2] / ".env.example").read_text()
    told = dict(re.findall(r"^# ([A-Z]+_[A-Z_]+)=(.*)$", example, re.MULTILINE))

    settings = Settings()
    for name in Settings.model_fields:
        variable = name.upper() if name.startswith("skyvern") else f"RUNQUEUE_{name.upper()}"
        assert variable in told
        default = getattr(settings, name)
        if name != "skyvern_api_key":
            shown = f"{default:g}" if isinstance(default, float) else str(default)
            shown = shown.lower() if isinstance(default, bool) else shown
            if isinstance(default, tuple):
                shown = ",".join(f"{part:g}" for part in default)
            assert told[variable] == ("" if default is None else shown)


def test_each_setting_is_read_from_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "SKYVERN_BASE_URL": "http://localhost:8000/",
        "RUNQUEUE_REDIS_URL": "rediss://redis:6380/2",
        "RUNQUEUE_BROKER_URL": "redis+socket:///run/redis.sock",
        "RUNQUEUE_MAX_SUBMISSIONS_PER_SECOND": "0.5",
        "RUNQUEUE_MAX_CONCURRENT_RUNS": "0",
        "RUNQUEUE_LOG_LEVEL": "debug",
        "RUNQUEUE_GATEWAY_PROXIES": " 127.0.0.1, 172.16.0.0/12,fd00::/8 ",
        "RUNQUEUE_MAX_OPEN_CALLS": "7",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    settings = load_settings()

    account = settings.all_accounts()["default"]
    assert account.base_url == "http://localhost:8000"
    assert account.api_key.get_secret_value() == KEY
    assert (account.max_submissions_per_second, account.max_concurrent_runs) == (0.5, 0)
    assert settings.redis_url == "rediss://redis:6380/2"
    assert settings.broker_url == "redis+socket:///run/redis.sock"
    assert (settings.log_level, settings.max_open_calls) == ("DEBUG", 7)
    assert settings.gateway_proxies == ("127.0.0.1/32", "172.16.0.0/12", "fd00::/8")


@pytest.mark.parametrize(
    ("given", "url"),
    [(" https://h/x/ \n", "https://h/x"), ("https://h", "https://h"), (" ", None), ("", None)],
)
def test_blanks_around_a_public_url_are_none_of_it(
    monkeypatch: pytest.MonkeyPatch, given: str, url: str | None
) -> None:
    monkeypatch.setenv("RUNQUEUE_PUBLIC_URL", given)

    assert load_settings().public_url == url


def test_a_file_gives_what_the_environment_does_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("RUNQUEUE_MAX_OPEN_CALLS=7\nRUNQUEUE_MAX_BURST_SIZE=3\n")
    monkeypatch.setenv("RUNQUEUE_MAX_OPEN_CALLS", "8")

    settings = load_settings()

    assert (settings.max_open_calls, settings.max_burst_size) == (8, 3)


NUMBER = r"expected a valid (number|integer), got "


def test_an_archive_that_has_the_only_copy_has_it_for_as_long_as_redis_lists_the_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SKYVERN_API_KEY", "key")
    monkeypatch.setenv("RUNQUEUE_ARCHIVE_KEEP", "8d")
    monkeypatch.setenv("RUNQUEUE_KEEP", "failed:9d")
    load_settings()
    monkeypatch.setenv("RUNQUEUE_ARCHIVE_ONLY_AFTER", "1d")
    with pytest.raises(
        SettingsError, match=r"RUNQUEUE_ARCHIVE_KEEP: .*RUNQUEUE_KEEP .*\(9d\).*_ONLY_AFTER"
    ):
        load_settings()
    for keep in ("0", "9d"):
        monkeypatch.setenv("RUNQUEUE_ARCHIVE_KEEP", keep)
        load_settings()


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("RUNQUEUE_MAX_SUBMISSIONS_PER_SECOND", "fast", NUMBER),
        ("RUNQUEUE_MAX_SUBMISSIONS_PER_SECOND", "-1", "expected greater than or equal to 0"),
        ("RUNQUEUE_MAX_SUBMISSIONS_PER_SECOND", "nan", "expected a finite number"),
        ("RUNQUEUE_MAX_REQUESTS_PER_SECOND", "100001", "expected less than or equal to 100000"),
        ("RUNQUEUE_MAX_BURST_SIZE", "x", NUMBER),
        ("RUNQUEUE_MAX_CONCURRENT_RUNS", "1.5", "expected a valid integer.*, got '1.5'"),
        ("RUNQUEUE_MAX_RUN_SECONDS", "0", "expected greater than 0"),
        ("RUNQUEUE_POLL_MAX_SECONDS", "3601", "expected less than or equal to 3600"),
        ("RUNQUEUE_POLL_MAX_SECONDS", "1", r"expected at least RUNQUEUE_POLL_MIN_SECONDS \(2\)"),
        ("RUNQUEUE_UNCONFIRMED_GRACE_SECONDS", "soon", NUMBER),
        ("RUNQUEUE_UNCONFIRMED_GRACE_SECONDS", "29", "expected greater than or equal to 30"),
        ("RUNQUEUE_QUEUE_NAME", "Blue queue", "expected up to 32 lower-case letters"),
        ("RUNQUEUE_MAX_OPEN_CALLS", "0", "expected greater than or equal to 1"),
        ("RUNQUEUE_MAX_OPEN_CALLS", "501", "expected less than or equal to 500"),
        ("RUNQUEUE_METRICS_PORT", "70000", "expected less than or equal to 65535, got '70000'"),
        ("RUNQUEUE_LOG_LEVEL", "loud", "expected DEBUG, INFO, WARNING or ERROR"),
        ("RUNQUEUE_REDIS_URL", "localhost:6379", r"expected a URL such as redis://"),
        ("RUNQUEUE_REDIS_URL", "http://localhost", r"expected a URL such as redis://"),
        ("RUNQUEUE_REDIS_URL", "redis://h:port/0", r"expected a URL such as redis://"),
        (
            "RUNQUEUE_REDIS_URL",
            "redis+cluster://h:1,h:port",
            r"expected a URL .*redis\+cluster://host:port,…",
        ),
        ("RUNQUEUE_REDIS_URL", "redis+sentinel://h:1,h:2", r"expected a URL .*redis\+sentinel://"),
        ("RUNQUEUE_BROKER_URL", "amqp://localhost", r"expected a URL such as redis://.*rediss://"),
        ("RUNQUEUE_BROKER_URL", "sentinel://localhost:26379", r"expected a URL such as redis://"),
        ("RUNQUEUE_BROKER_URL", "unix:///run/redis.sock", r".* or redis\+socket:///run/redis"),
        ("RUNQUEUE_CORRELATION", "nope", r"expected true or false \(on, off, yes, no, 1 and 0"),
        ("SKYVERN_BASE_URL", "api.skyvern.com", r"expected an http\(s\) URL such as"),
        ("SKYVERN_BASE_URL", "ftp://api.skyvern.com", r"expected an http\(s\) URL such as"),
        ("SKYVERN_BASE_URL", "https://h/?a=1", r"expected an http\(s\) URL such as"),
        ("SKYVERN_BASE_URL", "https://user:pw@h/", r"expected an http\(s\) URL such as"),
        ("RUNQUEUE_PUBLIC_URL", "hooks.example.com", r"expected the http\(s\) URL at which"),
        ("RUNQUEUE_PUBLIC_URL", "https://h/ü", r"expected the http\(s\) URL at which"),
        ("RUNQUEUE_PUBLIC_URL", "https://h/a\nb", r"expected the http\(s\) URL at which"),
        ("RUNQUEUE_GATEWAY_PROXIES", "nginx", "expected addresses and networks with commas"),
        ("RUNQUEUE_GATEWAY_PROXIES", "10.0.0.1/8", "expected addresses and networks with commas"),
        ("RUNQUEUE_ACCOUNTS", "nonsense", "expected a JSON object"),
        ("RUNQUEUE_KEEP", "failed:1d,failed:2d", "expected <state>:<days>d with .* once at most"),
        *(("RUNQUEUE_KEEP", f"dead:{one}", "expected <state>") for one in ("0d", "366d", "1h")),
        ("RUNQUEUE_ACCOUNTS__ACME", "nonsense", "expected a valid dictionary"),
        ("RUNQUEUE_ACCOUNTS__ACME__BASE_URL", "https://x.test", "required"),
    ],
)
def test_a_wrong_value_is_told_by_its_variable_and_what_was_expected(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(variable, value)
    at_fault = variable.replace("ACME__BASE_URL", "ACME__API_KEY")

    with pytest.raises(SettingsError, match=f"^{at_fault}: {expected}") as told:
        load_settings()

    assert KEY not in str(told.value)
    assert told.value.__cause__ is None
    assert told.value.__suppress_context__ or told.value.__context__ is None


def test_a_value_that_may_be_a_key_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNQUEUE_MAX_BURST_SIZE", f"{KEY}-and-more-of-it-than-a-number-has")
    monkeypatch.setenv("SKYVERN_BASE_URL", "https://user:pw@h/")

    with pytest.raises(SettingsError) as told:
        load_settings()

    assert "got" not in str(told.value)
    assert KEY not in str(told.value)
    assert "pw" not in str(told.value)


def test_every_wrong_value_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNQUEUE_MAX_OPEN_CALLS", "none")
    monkeypatch.setenv("RUNQUEUE_METRICS_PORT", "-1")

    with pytest.raises(SettingsError) as told:
        load_settings()

    assert "RUNQUEUE_MAX_OPEN_CALLS: " in str(told.value)
    assert "RUNQUEUE_METRICS_PORT: " in str(told.value)


@pytest.mark.parametrize("key", ["secret\nline", "secret-\N{EURO SIGN}", "   "])
@pytest.mark.parametrize("variable", ["SKYVERN_API_KEY", "RUNQUEUE_ACCOUNTS__ACME__API_KEY"])
def test_a_key_that_cannot_be_sent_is_refused_without_showing_it(
    monkeypatch: pytest.MonkeyPatch, variable: str, key: str
) -> None:
    monkeypatch.setenv(variable, key)

    with pytest.raises(SettingsError, match=f"^{variable}: expected an API key") as told:
        load_settings()

    assert "secret" not in str(told.value)


@pytest.mark.parametrize("value", [None, ""])
def test_without_any_key_the_variable_is_named_and_that_of_a_further_account_is_enough(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    if value is None:
        monkeypatch.delenv("SKYVERN_API_KEY")
    else:
        monkeypatch.setenv("SKYVERN_API_KEY", value)

    with pytest.raises(SettingsError, match=r"^SKYVERN_API_KEY: expected the API key"):
        load_settings()
    monkeypatch.setenv("RUNQUEUE_ACCOUNTS__ACME__API_KEY", "other")
    assert list(load_settings().all_accounts()) == ["acme"]


def test_further_accounts_are_named_by_their_variables_and_have_their_own_limits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RUNQUEUE_MAX_CONCURRENT_RUNS", "25")
    monkeypatch.setenv("RUNQUEUE_ACCOUNTS__ACME__API_KEY", "4711")
    monkeypatch.setenv("RUNQUEUE_ACCOUNTS__ACME__BASE_URL", "http://localhost:8000")
    monkeypatch.setenv("RUNQUEUE_ACCOUNTS__ACME__MAX_REQUESTS_PER_SECOND", "1.5")
    monkeypatch.setenv("RUNQUEUE_ACCOUNTS__ACME__KEEP", "completed:1d, failed:365d")

    accounts = load_settings().all_accounts()

    assert list(accounts) == ["default", "acme"]
    assert accounts["default"].max_concurrent_runs == 25
    acme = accounts["acme"]
    assert acme.api_key.get_secret_value() == "4711"
    assert acme.base_url == "http://localhost:8000"
    assert acme.for_queue() == {
        "submissions_per_second": 2,
        "burst_size": 5,
        "concurrent_runs": 10,
        "requests_per_second": 1.5,
        "webhooks_per_second": 50,
        "waiting_jobs": 0,
        "waiting_bytes": 0,
    }
    days = {"keep_completed": 1, "keep_failed": 365, "keep_canceled": 7, "keep_dead": 7}
    assert acme.retained_days() == days
    assert set(accounts["default"].retained_days().values()) == {7}


def test_a_wrong_field_of_an_account_is_told_with_those_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RUNQUEUE_ACCOUNTS__ACME__API_KEY", "secret-of-acme")
    monkeypatch.setenv("RUNQUEUE_ACCOUNTS__ACME__MAX_RUN_SECONS", "1")

    expected = "^RUNQUEUE_ACCOUNTS__ACME__MAX_RUN_SECONS: expected one of .*MAX_RUN_SECONDS"
    with pytest.raises(SettingsError, match=expected) as told:
        load_settings()

    assert "secret-of-acme" not in str(told.value)


def test_an_account_name_that_cannot_be_a_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNQUEUE_ACCOUNTS", '{"a b": {"api_key": "secret-of-acme"}}')

    with pytest.raises(SettingsError, match="expected an account name of a-z, 0-9") as told:
        load_settings()

    assert "secret-of-acme" not in str(told.value)


#: What is no proxy's URL.
NO_PROXIES = [
    *("https://a.test", "socks4://a.test:1080", "http://", "http://a.test:0", "http://[::1"),
    *("http://a.test:99999", "http://a.test/path", "http://a.test?q", "a b", "http://ü.test"),
]


@pytest.mark.parametrize("url", NO_PROXIES)
@pytest.mark.parametrize(
    "variable",
    ["RUNQUEUE_PROXY", "RUNQUEUE_ACCOUNTS__ACME__PROXY", "HTTPS_PROXY", "http_proxy", "ALL_PROXY"],
)
def test_a_proxy_that_cannot_be_used_is_told_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, url: str
) -> None:
    monkeypatch.setenv("RUNQUEUE_ACCOUNTS__ACME__API_KEY", "k")
    url = url.replace("://", "://user:Secret1@")
    monkeypatch.setenv(variable, url)

    with pytest.raises(SettingsError, match=f"^{variable}: expected the URL of a proxy") as told:
        load_settings()

    assert "Secret1" not in str(told.value)


@pytest.mark.parametrize(
    "url", ["a.test", "http://u:p@a.test:3128/", "HTTP://[::1]:8080", "socks5://a.test", "none"]
)
def test_an_account_has_a_proxy_of_its_own(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("RUNQUEUE_PROXY", "http://b.test")
    monkeypatch.setenv("RUNQUEUE_ACCOUNTS__ACME__API_KEY", "k")
    monkeypatch.setenv("RUNQUEUE_ACCOUNTS__ACME__PROXY", url)
    monkeypatch.setenv("RUNQUEUE_ACCOUNTS__OTHER__API_KEY", "k")

    accounts = load_settings().all_accounts()

    assert {name: one.proxy_url for name, one in accounts.items()} == {
        "default": "http://b.test",
        "acme": url,
        "other": None,
    }


def test_proxies_are_read_from_the_environment_and_from_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path(".env").write_text("HTTPS_PROXY=http://file.test\nHTTP_PROXY=http://file.test\n")
    monkeypatch.setenv("HTTPS_PROXY", "http://b.test")
    monkeypatch.setenv("no_proxy", "c.test")

    assert load_settings().proxy_environment() == {
        "HTTPS_PROXY": "http://b.test",
        "HTTP_PROXY": "http://file.test",
        "no_proxy": "c.test",
    }


def test_a_proxy_for_all_schemes_that_none_needs_may_be_of_any_kind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variable in ("http_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "a.test")
    monkeypatch.setenv("all_proxy", "https://a.test")

    environ = load_settings().proxy_environment()
    assert Proxies.from_environment(environ).find("https://shop.test") is not None


def test_the_password_of_a_proxy_is_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNQUEUE_PROXY", "http://u:Pass%40one@a.test")
    monkeypatch.setenv("HTTPS_PROXY", "u:PassTwo@b.test")

    settings = load_settings()

    assert {"Pass%40one", "Pass@one", "PassTwo"} <= set(settings.secrets())
    assert "Pass" not in repr(settings) + repr(settings.all_accounts())


def test_a_variable_that_nothing_reads_is_warned_of_with_a_suggestion() -> None:
    environ = {
        "RUNQUEUE_MAX_OPEN_CALL": "1",
        "RUNQUEUE_MAX_CONCURENT_RUNS": "1",
        "RUNQUEUE_ZZZ": "1",
        "RUNQUEUE_MAX_OPEN_CALLS": "1",
        "RUNQUEUE_WORKERS": "2",  # read by the command that starts the workers
        "RUNQUEUE_ACCOUNTS__ACME__API_KEY": "k",
        "OTHER_PLACE": "1",
    }

    assert unknown_variables(environ) == [
        "RUNQUEUE_MAX_OPEN_CALL is not a setting (did you mean RUNQUEUE_MAX_OPEN_CALLS?)",
        "RUNQUEUE_MAX_CONCURENT_RUNS is not a setting (did you mean RUNQUEUE_MAX_CONCURRENT_RUNS?)",
        "RUNQUEUE_ZZZ is not a setting",
    ]


def test_a_typo_in_the_file_is_warned_of_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("RUNQUEUE_MAX_OPEN_CALL=7\nOTHER=1\n")

    assert unknown_variables() == [
        "RUNQUEUE_MAX_OPEN_CALL is not a setting (did you mean RUNQUEUE_MAX_OPEN_CALLS?)"
    ]


@pytest.mark.parametrize(
    ("queue", "broker"),
    [
        ("redis://h:6379/0", "redis://h:6379/1"),
        ("redis://h:6379", "redis://h:6379/1"),
        ("redis://h:6379/", "redis://h:6379/1"),
        ("rediss://user:pw@h/3?a=b", "rediss://user:pw@h/4?a=b"),
    ],
)
def test_the_broker_is_the_next_database_of_the_queues_server(queue: str, broker: str) -> None:
    assert broker_url(Settings(), queue) == broker


def test_a_broker_that_was_set_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNQUEUE_BROKER_URL", "redis://other/5")

    assert broker_url(load_settings(), "redis://h/0") == "redis://other/5"


SEVERAL = (
    "redis+cluster://h:6379",
    "redis+cluster://h1:6379,h2:6379/",
    "rediss+cluster://user:p%40ss@h1:6379,h2:6379,10.0.0.3:6379?ssl_cert_reqs=none",
    "redis+sentinel://h1:26379,h2:26379/queue/0",
    "rediss+sentinel://:secret@h1:26379/queue?sentinel_password=secret",
)


@pytest.mark.parametrize("url", SEVERAL)
def test_a_cluster_or_sentinels_may_be_the_queue_and_want_a_broker_to_be_named(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("SKYVERN_API_KEY", "key")
    monkeypatch.setenv("RUNQUEUE_REDIS_URL", url)
    settings = load_settings()

    assert settings.redis_url == url
    with pytest.raises(SettingsError, match=r"^RUNQUEUE_BROKER_URL: expected the URL of a Redis"):
        broker_url(settings, url)


@pytest.mark.parametrize("url", SEVERAL)
def test_what_settings_take_for_several_servers_the_queue_reads_as_such(url: str) -> None:
    assert several(url).hosts[0][0] in {"h", "h1"}


@pytest.mark.parametrize(
    ("name", "default"),
    [("drain_seconds", 25), ("correlation", True), ("metrics_port", 9464), ("log_level", "INFO")],
)
def test_an_empty_value_is_the_default(
    monkeypatch: pytest.MonkeyPatch, name: str, default: object
) -> None:
    monkeypatch.setenv(f"RUNQUEUE_{name.upper()}", "")

    assert getattr(load_settings(), name) == default


def test_an_empty_url_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNQUEUE_REDIS_URL", "")
    monkeypatch.setenv("RUNQUEUE_BROKER_URL", "")

    settings = load_settings()

    assert (settings.redis_url, settings.broker_url) == (None, None)


def test_no_secret_is_in_a_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNQUEUE_ACCOUNTS__ACME__API_KEY", "secret-of-acme")
    monkeypatch.setenv("RUNQUEUE_REDIS_URL", "redis://user:redis-password@localhost/0")
    monkeypatch.setenv("RUNQUEUE_BROKER_URL", "redis://user:redis-password@localhost/1")
    settings = load_settings()

    told = f"{settings!r} {settings} {settings.all_accounts()}"

    for secret in (KEY, "secret-of-acme", "redis-password"):
        assert secret not in told


def test_no_grace_has_a_job_submitted_again_while_its_first_submission_may_yet_take_effect() -> (
    None
):
    (bound,) = (
        limit.ge
        for limit in Settings.model_fields["unconfirmed_grace_seconds"].metadata
        if isinstance(limit, Ge)
    )
    assert float(str(bound)) + reconcile.SPACING >= transport.DEFAULT_TIMEOUT
