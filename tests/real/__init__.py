"""Tests against a real Skyvern server; `make test-real` runs them (tests/real/conftest.py)."""
