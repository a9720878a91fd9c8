"""What one worker process holds."""
