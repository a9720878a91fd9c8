"""`python -m simulation.planting`: plant defects one by one, and see each of them found."""

from simulation.planting.search import app

if __name__ == "__main__":
    app()
