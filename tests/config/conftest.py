"""Every test here has an environment without settings."""

from tests.bare import no_settings

__all__ = ["no_settings"]
