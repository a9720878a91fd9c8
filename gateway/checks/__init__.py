"""Checking large bodies in processes of their own."""
