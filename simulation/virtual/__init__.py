"""Time, sockets and names as the simulated processes see them."""
