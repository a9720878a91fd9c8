"""The settings of the archive, which has ended jobs in SQL."""

import re
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, SecretStr, field_validator

_DURATION: Final = re.compile(r"([1-9][0-9]{0,4})([hd])")
_SECONDS: Final = {"h": 3600, "d": 86_400}


def seconds_of(text: str) -> int:
    """Return the seconds of `12h` or `30d`; 0 of `0` and of nothing.

    Raises:
        ValueError: it has another form.
    """
    if text in {"", "0"}:
        return 0
    if (found := _DURATION.fullmatch(text)) is None:
        raise ValueError("expected hours or days, such as 12h or 30d")
    return int(found[1]) * _SECONDS[found[2]]


def check_url(url: str) -> None:
    """Refuse what is no URL of an archive.

    Raises:
        ValueError: it is no `sqlite:///<path>` and no `postgresql://…`.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    path = parts.path.removeprefix("/")
    if (
        not path
        or parts.scheme not in {"sqlite", "postgresql"}
        or (parts.scheme == "sqlite" and (parts.netloc or path == ":memory:"))
    ):
        raise ValueError(
            "expected sqlite:///<path of a file> or postgresql://<user>@<host>/<database>"
        )


def _is_duration(text: str) -> str:
    seconds_of(text)
    return text


Duration = Annotated[str, AfterValidator(_is_duration)]


class ArchiveSettings(BaseModel):
    """The settings of the archive, of all accounts."""

    #: Where it is: sqlite:///<path of a file>, or postgresql://<user>:<password>@<host>/<database>;
    #: empty = there is none.
    archive_url: SecretStr | None = None
    #: How long it has a job, in hours or days; 0 = for good.
    archive_keep: Duration = "365d"
    #: How long after its end a job's request and result leave Redis; empty = as its retention says.
    archive_only_after: Duration = ""

    @field_validator("archive_url")
    @classmethod
    def _is_database(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not value.get_secret_value():
            return None
        check_url(value.get_secret_value())
        return value
