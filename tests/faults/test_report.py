"""docs/reliability.md has the text of its template, and its rows are experiments that exist."""

import re
from pathlib import Path

from faults.registry import GROUPS, experiments
from faults.report import LOST_ANSWERS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reliability.md").read_text()
TEMPLATE = (ROOT / "faults/reliability.md").read_text()


def without_findings(text: str) -> list[str]:
    """Return a page's lines; all tables, and all sums, are the same."""
    start, end = LOST_ANSWERS
    text = re.sub(f"{start}\n.*?{end}", f"{start}\n{end}", text, flags=re.DOTALL)
    text = re.sub(r"^\| fault \|.*\n(?:\|.*\n)+", "{{table}}\n", text, flags=re.MULTILINE)
    text = re.sub(rf"^\{{\{{(?:{'|'.join(GROUPS)})\}}\}}$", "{{table}}", text, flags=re.MULTILINE)
    text = re.sub(r"^\d+ experiments, .*\.$", "{{sum}}", text, flags=re.MULTILINE)
    text = re.sub(r"^findable by a marker: .*\.$", "{{doubts}}.", text, flags=re.MULTILINE)
    return text.splitlines()


def test_the_page_and_its_template_have_the_same_text() -> None:
    assert without_findings(PAGE) == without_findings(TEMPLATE)


def test_every_row_of_the_page_is_an_experiment_as_it_is_made() -> None:
    rows = re.findall(r"^\| (\*\*.*?) \| (?:\d+|-) \|", PAGE, re.MULTILINE)
    made = {f"**{each.name}**: {each.fault}" for each in experiments().values()}

    assert rows
    assert [row for row in rows if row not in made] == []
