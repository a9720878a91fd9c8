"""The experiments, a module for each topic."""
