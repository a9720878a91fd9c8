"""The simulated account: runs, their plans, sessions, workflows, and the fields of requests."""
