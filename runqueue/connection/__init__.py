"""Connections to Redis: URLs, clients, clusters, sentinels, and what their errors mean."""
