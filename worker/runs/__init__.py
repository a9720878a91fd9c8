"""Finding, reading and comparing runs."""
