"""Every link of every page leads to a file that is there, and to a heading that it has."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page.relative_to(ROOT).as_posix()
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
)


def anchors(page: Path) -> set[str]:
    """Return the names by which GitHub, and the site, know the headings of a page."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title) for title in titles)
    headings = {re.sub(r"[^\w -]", "", one.lower()).strip().replace(" ", "-") for one in plain}
    return headings | set(re.findall(r'<a id="([^"]+)">', text))


def wrong_links(page: Path) -> list[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        there = (page.parent / target).resolve() if target else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("name", PAGES)
def test_every_link_of_a_page_leads_somewhere(name: str) -> None:
    assert wrong_links(ROOT / name) == []


def test_a_missing_file_and_a_missing_heading_are_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text('# A title, `quoted`\n\n<a id="here"></a>Text.\n')
    page = tmp_path / "page.md"
    page.write_text(
        "[a](other.md#a-title-quoted) [b](other.md#here) [c](other.md#none) [d](gone.md) [e](#f)"
    )

    assert wrong_links(page) == ["other.md#none", "gone.md", "#f"]
