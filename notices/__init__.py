"""Tells people what goes on: what to tell, to whom, and that it was told."""
