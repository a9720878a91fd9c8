"""Schedules: when jobs are enqueued again and again, and which."""
