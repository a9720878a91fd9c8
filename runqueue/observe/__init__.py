"""What is measured: the collector, its metrics, and the spans of runs."""
