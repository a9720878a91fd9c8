"""Relaying webhooks to their receivers."""
