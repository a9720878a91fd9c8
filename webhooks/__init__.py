"""Webhooks as worker and gateway share them: signing, verifying, sending, where they may go."""
