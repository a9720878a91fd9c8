"""What the queue tells of itself; `runqueue/collector.py` turns it into Prometheus' metrics."""
