"""What one gateway process holds."""
