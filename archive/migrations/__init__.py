"""The archive's migrations: Alembic runs them, on the connection that `database.py` gives it."""
