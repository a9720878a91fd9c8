"""Schedules: what they say, when they fire, what becomes of a firing, and the calls about them."""
