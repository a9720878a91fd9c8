"""The commands about jobs, batches, groups and accounts."""
