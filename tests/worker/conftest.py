"""Every test here has an environment without settings, and sees what is logged."""

from tests.bare import logged, no_settings

__all__ = ["logged", "no_settings"]
