"""`runqueue up` and `runqueue demo`: processes that are started and watched together."""
