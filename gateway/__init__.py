"""The HTTP side of the queue: Skyvern's webhooks, the API and the page."""
