"""`runqueue top`."""
