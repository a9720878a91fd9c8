"""What one bearer may see, and how much of the process he may use."""
