"""The modules that are generated."""

from pathlib import Path

import pytest

from tools.generate import MARKER, SOURCES, blocking


@pytest.mark.parametrize("generated", SOURCES, ids=lambda path: path.name)
def test_a_generated_module_is_what_its_source_gives(generated: Path) -> None:
    assert generated.read_text() == blocking(SOURCES[generated]), "run `make generate`"


@pytest.mark.parametrize("generated", SOURCES, ids=lambda path: path.name)
def test_a_generated_module_says_so_first_and_names_no_coroutine(generated: Path) -> None:
    text = generated.read_text()
    assert text.startswith(MARKER)
    assert [word for word in ("async ", "await ", "asyncio") if word in text] == []
