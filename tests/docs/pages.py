"""The examples of a page, and what they print."""

import re
from dataclasses import dataclass

#: In what an example prints: anything.
ANYTHING = "…"


@dataclass(frozen=True)
class Example:
    """A block of code in a page, with what the page says that it prints.

    Args:
        line: where it stands.
    """

    line: int
    code: str
    prints: str

    def __str__(self) -> str:
        return f"line {self.line}"


def examples(page: str, language: str) -> list[Example]:
    """Return the blocks of a language."""
    block = rf"^```{language}\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?"
    return [
        # The fence is on the line before the code.
        Example(page.count("\n", 0, found.start()) + 2, found[1], found[2] or "")
        for found in re.finditer(block, page, re.MULTILINE | re.DOTALL)
    ]


def pattern_of(told: str) -> str:
    """Return what a page tells as a regular expression."""
    return ".*".join(map(re.escape, told.split(ANYTHING)))
