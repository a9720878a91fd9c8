"""The HTTP side of the queue: Skyvern's webhooks come in here, and people and services ask here."""
