"""What the simulated account holds: runs, their plans, sessions, and what may be asked for."""
