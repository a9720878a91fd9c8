"""An SMTP server for blocks that send mail: with STARTTLS and a login, as the real server wants."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message as EmailMessage
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message
from aiosmtpd.smtp import AuthResult, LoginPassword

from lab.valkeys import free_port

_CERTIFICATE = Path(__file__).parents[1] / "api_client" / "selfsigned.pem"
_LOGIN = LoginPassword(b"skyvern", b"of-a-mailbox-for-tests")


class Mailbox(Message):
    """Keeps the subjects of what arrives."""

    def __init__(self) -> None:
        super().__init__()
        self.subjects: list[str] = []

    def handle_message(self, message: EmailMessage[str, str]) -> None:
        """Take a message."""
        self.subjects.append(message["subject"])


#: The server looks recipients' domains up, which a machine without the Internet's names cannot.
_NO_LOOKUP = "import email_validator\n\nemail_validator.CHECK_DELIVERABILITY = False\n"


@contextmanager
def mailbox(folder: Path) -> Iterator[tuple[Mailbox, dict[str, str]]]:
    """Have an SMTP server; yield what it keeps, and the settings of a Skyvern that uses it.

    Args:
        folder: for what the server imports first.
    """
    (folder / "sitecustomize.py").write_text(_NO_LOOKUP)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(_CERTIFICATE)
    box, port = Mailbox(), free_port()
    controller = Controller(
        box,
        "127.0.0.1",
        port,
        tls_context=tls,
        require_starttls=True,
        auth_required=True,
        authenticator=lambda *given: AuthResult(success=given[-1] == _LOGIN),
    )
    controller.start()
    try:
        yield (
            box,
            {
                "PYTHONPATH": str(folder),
                "SMTP_HOST": "127.0.0.1",
                "SMTP_PORT": str(port),
                "SMTP_USERNAME": _LOGIN.login.decode(),
                "SMTP_PASSWORD": _LOGIN.password.decode(),
            },
        )
    finally:
        controller.stop()
