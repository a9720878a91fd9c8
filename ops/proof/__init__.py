"""Proof that the alerts work: a real Prometheus watches a real stack, and faults are provoked."""
