"""What answers mean: models, outcomes, errors."""
