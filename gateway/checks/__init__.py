"""Checking bodies, in threads."""
