"""What one bearer may see, and how much he may hold."""
