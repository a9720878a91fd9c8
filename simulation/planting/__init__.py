"""Planted defects, which the simulation must see: `python -m simulation.planting`."""
