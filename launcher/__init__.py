"""`runqueue up` and `runqueue demo`: they start and watch processes together."""
