"""`runqueue doctor`: checks of settings, Redis, queue and API."""
