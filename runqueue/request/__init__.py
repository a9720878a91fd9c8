"""What may be requested: run requests, job options, and how faults in them are reported."""
