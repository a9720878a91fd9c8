"""The archive: ended jobs in SQL, to be searched, counted and drawn after they have left Redis.

`archiver.py` copies jobs from Redis, `writer.py` stores them, `reader.py` finds them. No other
package has SQL. One schema serves SQLite and PostgreSQL; what differs is in `database.py`.
"""
