"""The Valkey server that runs on this machine, and the secrets that are made for it."""
