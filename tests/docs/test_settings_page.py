"""The page of the settings: every one is there, once, with its default."""

import re
from pathlib import Path

import pytest

from config.settings import _READ_ELSEWHERE
from tests.deploy.test_compose import example, variables

PAGE = (Path(__file__).parents[2] / "docs/settings.md").read_text()
#: What stands for no default, an en dash.
NONE = "\N{EN DASH}"
#: Whose default is told in words.
IN_WORDS = {"SKYVERN_BASE_URL", "RUNQUEUE_REDIS_URL", "RUNQUEUE_BROKER_URL"}
#: Read from the environment by the libraries and by the proxies of `config/proxies.py`.
STANDARD = {"HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"}


def rows() -> list[tuple[str, str]]:
    """Return each variable of the tables with its default."""
    found = []
    for names, defaults in re.findall(r"^\| (`.*?`) \| (.*?) \|", PAGE, re.MULTILINE):
        variables = re.findall(r"`([A-Z_]+)`", names)
        values = defaults.split(", ") if len(variables) > 1 and ", " in defaults else [defaults]
        if len(values) == 1:  # one for all of them
            values *= len(variables)
        found += list(zip(variables, values, strict=True))
    return found


def test_every_setting_is_in_one_row() -> None:
    named = [name for name, _ in rows()]

    assert sorted(named) == sorted({*variables(), *_READ_ELSEWHERE, *STANDARD})


@pytest.mark.parametrize("name", sorted(variables().keys() - IN_WORDS))
def test_the_page_shows_the_default_of(name: str) -> None:
    assert dict(rows())[name] == (example()[name] or NONE)
