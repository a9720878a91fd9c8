"""`python -m simulation --seed N`: one history of the whole queue, or many without their lines."""

from simulation.virtual import seams

if __name__ == "__main__":
    seams.install()
    from simulation.cli import app

    app()
