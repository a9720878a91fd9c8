"""The documentation builds into a site without a warning."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr
    return folder


def test_every_page_of_the_documentation_is_on_the_site(site: Path) -> None:
    pages = [path.relative_to(ROOT / "docs").with_suffix("") for path in ROOT.glob("docs/**/*.md")]

    assert len(pages) > 10
    assert [name for name in pages if not (site / name / "index.html").exists()] == []


def test_links_of_the_root_pages_lead_to_pages_of_the_site(site: Path) -> None:
    start = (site / "index.html").read_text()

    assert 'href="enqueue/"' in start
    assert 'href="ARCHITECTURE/"' in start
    assert 'src="img/page.png"' in start


def test_an_example_that_a_page_links_to_is_on_the_site(site: Path) -> None:
    assert 'href="../examples/fastapi_service.py"' in (site / "enqueue/index.html").read_text()
    assert (site / "examples/fastapi_service.py").read_text().startswith('"""')
