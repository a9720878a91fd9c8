"""What Apprise sends, and what nobody sees of it: the secrets in its URLs."""

import asyncio
import io
import logging
import subprocess
import sys
from collections.abc import Iterator
from email import message_from_bytes, policy
from typing import Any

import pytest
import typer
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from pydantic import SecretStr

from config.notices import NotifyUrl, secrets_of
from config.redaction import Redactor
from config.settings import SettingsError, load_settings
from tests.killing import ROOT
from tests.runqueue.lua.clockwork import Clockwork
from tests.webhooks.notices.telling import SECRET, Receiver, Teller
from tests.webhooks.notices.test_telling import spend
from tests.worker.working import closed_port
from webhooks.notices import sending
from webhooks.notices.command import notify
from webhooks.notices.sending import Message, send


class Mail:
    """What a mail server took."""

    def __init__(self) -> None:
        self.mails: list[Any] = []

    async def handle_DATA(self, *said: Any) -> str:  # noqa: N802 - aiosmtpd's name
        """Take a mail."""
        envelope = said[-1]
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"


@pytest.fixture
def mail() -> Iterator[tuple[Mail, str]]:
    """A mail server with a login, and the URL of a receiver there."""
    taken, port = Mail(), closed_port()
    server = Controller(
        taken,
        hostname="127.0.0.1",
        port=port,
        authenticator=lambda *_: AuthResult(success=True),
        auth_require_tls=False,
    )
    server.start()
    people = "from=queue@x.test&to=ops@x.test"
    yield taken, f"mailto://ops:{SECRET}@127.0.0.1:{port}?{people}&mode=insecure"
    server.stop()


async def test_a_budget_is_told_by_mail(clock: Clockwork, mail: tuple[Mail, str]) -> None:
    taken, url = mail
    teller = Teller(clock, url)
    spend(80)(clock)
    await teller.rounds(60)
    spend(1)(clock)
    await teller.rounds(60)
    assert [one["subject"] for one in taken.mails] == [
        "runqueue (default): budget at 80 %",
        "runqueue (default): budget below 80 % again",
    ]
    body = taken.mails[0].get_body(("plain", "html")).get_content()
    assert "account: 80 spent of 100 steps" in body
    assert "runqueue budgets list" in body


async def test_no_log_and_no_key_hold_what_a_url_does(
    clock: Clockwork, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = io.StringIO()
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [logging.StreamHandler(lines)])
    for logger in (root, logging.getLogger("urllib3"), logging.getLogger("apprise")):
        monkeypatch.setattr(logger, "level", logging.DEBUG)
    receiver.status = 500
    spend(80)(clock)
    await Teller(clock, f"{receiver.url} json://127.0.0.1:1/{SECRET}").rounds(60)
    assert SECRET not in lines.getvalue() + str(clock.dump())
    assert receiver.came == sending.TRIES


def test_a_send_that_raises_says_no_word_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(url: str) -> Any:
        raise ValueError(url)

    monkeypatch.setattr(sending, "receiver_of", broken)
    why = send(
        NotifyUrl(SecretStr(f"json://x/{SECRET}"), frozenset()), Message("", "t", "b", "info")
    )
    assert why == "Apprise failed (ValueError)"


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        (f"json://x/ nonsense-{SECRET}", "entry 2: expected a URL of Apprise"),
        (f"budget_81=json://x/{SECRET}", "entry 1: expected events of account_held, budget_80"),
        (f"json://x/ json://y/ slack://{SECRET}", "entry 3: Apprise takes no such URL"),
        (f"nothing://{SECRET}", "entry 1: Apprise takes no such URL"),
        (" ".join([f"json://x/{SECRET}"] * 11), "expected 10 entries at most, got 11"),
    ],
)
def test_a_wrong_entry_is_named_by_its_number_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, entries: str, said: str
) -> None:
    monkeypatch.setenv("SKYVERN_API_KEY", "key")
    monkeypatch.setenv("RUNQUEUE_NOTIFY_URLS", entries)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(caught.value).startswith(f"RUNQUEUE_NOTIFY_URLS: {said}")
    assert SECRET not in str(caught.value)


def test_each_account_has_its_own_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKYVERN_API_KEY", "key")
    monkeypatch.setenv("RUNQUEUE_NOTIFY_URLS", f"budget_80,failures=json://x/{SECRET}?a=b=c")
    monkeypatch.setenv("RUNQUEUE_ACCOUNTS__ACME__API_KEY", "other")
    monkeypatch.setenv("RUNQUEUE_ACCOUNTS__ACME__NOTIFY_URLS", "json://y/")
    settings = load_settings()
    accounts = settings.all_accounts()
    (url,) = accounts["default"].notify_urls
    assert url.events == {"budget_80", "failures"}
    assert url.url.get_secret_value() == f"json://x/{SECRET}?a=b=c"
    assert len(accounts["acme"].notify_urls[0].events) == 14
    assert SECRET not in f"{settings!r} {accounts!r} {url!r} {settings.model_dump()}"
    assert SECRET in settings.secrets()


@pytest.mark.parametrize(
    ("url", "line", "left"),
    [
        (
            "slack://T1JJ3T3L2/A1BRTD4JD/{}/#ops",
            "/services/T1JJ3T3L2/A1BRTD4JD/{}",
            "/services/*/*/*",
        ),
        ("mailtos://u:p4ss@mail.example.com", "535 for u:p4ss at mail", "535 for u:* at mail"),
        ("mailtos://u:p%40ss1@a.example.com", "535 for p@ss1", "535 for *"),
        ("json://x/?from=queue@example.com", "queue@example.com, from=queue", "*, from=queue"),
        ("json://localhost:8080/{}?a={}2", "localhost:8080 json {} {}2", "localhost:8080 json * *"),
        ("json://production-host/a", "production-host is held", "production-host is held"),
        ("tgram://123456789:abcdefg_hijklmnop/1/", "bot123456789:abcdefg_hijklmnop", "bot*:*"),
    ],
)
def test_secrets_of_a_url_are_redacted_and_no_words_of_other_lines(
    url: str, line: str, left: str
) -> None:
    one = NotifyUrl(SecretStr(url.replace("{}", SECRET)), frozenset())
    redact = Redactor(secrets_of([one]))
    assert redact.text(line.replace("{}", SECRET)) == left.replace("*", "[redacted]")


def test_apprise_is_imported_only_where_a_url_is_set() -> None:
    code = (
        "import sys; import worker.runtime, gateway.state.state;"
        "from config.settings import Settings; Settings(SKYVERN_API_KEY='k').all_accounts();"
        "print('apprise' in sys.modules)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout == "False\n"


async def test_the_command_says_what_each_url_answered(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SKYVERN_API_KEY", "key")
    wrong = f"json://127.0.0.1:{closed_port()}/{SECRET}"
    monkeypatch.setenv("RUNQUEUE_NOTIFY_URLS", f"{receiver.url} budget_80={wrong}")
    with pytest.raises(typer.Exit) as ended:
        await asyncio.to_thread(notify, "test")
    assert ended.value.exit_code == 1
    found = capsys.readouterr()
    assert found.out.splitlines() == [
        "default, URL 1: sent",
        "default, URL 2: the receiver did not take it",
    ]
    assert SECRET not in found.out + found.err
    assert receiver.taken() == ["a test"]
    monkeypatch.setenv("RUNQUEUE_NOTIFY_URLS", receiver.url)
    await asyncio.to_thread(notify, "test")
    monkeypatch.delenv("RUNQUEUE_NOTIFY_URLS")
    with pytest.raises(typer.Exit, match="2"):
        await asyncio.to_thread(notify, "test")
    monkeypatch.setenv("RUNQUEUE_NOTIFY_URLS", SECRET)
    with pytest.raises(typer.Exit, match="2"):
        await asyncio.to_thread(notify, "test")
    assert SECRET not in capsys.readouterr().err
