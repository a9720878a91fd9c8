"""A model of an account, and the machine that drives it and the real scripts side by side."""
