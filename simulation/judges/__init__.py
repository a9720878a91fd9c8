"""What must hold in a simulated world, judged by what Skyvern, producers and receivers saw."""
