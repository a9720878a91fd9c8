"""What the tests of the examples share."""

from tests.ops.conftest import promtool

__all__ = ["promtool"]
