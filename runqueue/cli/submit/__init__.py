"""`runqueue submit` and `validate`: reading job files and enqueuing them."""
