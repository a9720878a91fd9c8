"""Our request and response models beside the schemas of a release of Skyvern: `make contract`.

Skyvern is AGPL: its package is read by a Python of its own, in an environment of its own; what
comes here is its OpenAPI description, as JSON, and nothing of it is kept in the repository.
"""
