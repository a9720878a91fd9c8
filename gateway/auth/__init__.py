"""Tokens, the audit, and calls that are refused."""
