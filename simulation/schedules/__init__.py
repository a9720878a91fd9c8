"""Schedules in simulated worlds: which a plan has, and who applies and pauses them."""
