"""What is learned of a server's version, and which versions are certified."""

import pytest

from api_client.versions import CERTIFIED_VERSIONS, is_certified


@pytest.mark.parametrize("version", CERTIFIED_VERSIONS)
def test_a_version_of_the_list_is_certified(version: str) -> None:
    assert is_certified(version)


@pytest.mark.parametrize("version", [None, "", "1.0", "1.0.56 ", "1.0.57", "development"])
def test_any_other_is_not(version: str | None) -> None:
    assert not is_certified(version)
