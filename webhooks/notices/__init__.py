"""Notifications: what is sent to the URLs of `RUNQUEUE_NOTIFY_URLS`, when, and how."""
