"""What may be asked for: run requests, job options, and how faults in them are told."""
