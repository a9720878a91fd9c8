"""Receiving Skyvern's webhooks."""
