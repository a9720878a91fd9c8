"""What experiments, benchmarks and tests share: servers as processes, and a network that fails."""
