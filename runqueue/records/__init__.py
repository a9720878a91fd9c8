"""What the queue knows, as plain values: jobs, batches, accounts, deliveries."""
