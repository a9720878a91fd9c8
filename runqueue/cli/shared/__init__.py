"""What the commands share: output, exit codes, names."""
