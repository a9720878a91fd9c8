"""Webhook code of worker and gateway: signing, verifying, sending, and checking URLs."""
