"""What commands talk to: Redis itself, or a gateway."""
