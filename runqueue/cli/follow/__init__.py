"""Following jobs and batches to their ends."""
