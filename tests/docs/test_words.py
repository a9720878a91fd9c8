"""The pages are written in the terms of the field, without private words."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page.relative_to(ROOT).as_posix() for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
)
#: Private words, and what to write.
WORDS = {
    r"whoever": "the one who acts: a caller, a user, a process",
    r"hand(?:s|ed|ing)? (?:\w+ )?in": "submit, enqueue",
    r"pumps?": "consumer",
    r"recorders?": "batch writer",
    r"strays?": "orphan run",
    r"nudges?d?": "wake",
    r"askers?": "caller",
}
#: Not prose: blocks, code and names in italics, which are those of commands, fields and the page.
_CODE = re.compile(r"^```.*?^```$|^    \S.*$|`[^`\n]*`|\*\w+\*", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", PAGES)
def test_no_page_uses_a_private_word(name: str) -> None:
    text = _CODE.sub(" ", (ROOT / name).read_text())
    found = {
        match[0]: instead
        for word, instead in WORDS.items()
        for match in re.finditer(rf"\b{word}\b", text, re.IGNORECASE)
    }

    assert found == {}
