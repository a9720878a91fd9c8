"""Schedules: what they say, when they fire, and what becomes of a firing; without Redis."""
