"""What the queue's methods for operators stand on: decisions on jobs, refused lines, pauses."""
