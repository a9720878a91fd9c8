"""Faults on purpose: real processes, what is done to them, and what must hold all the same."""
