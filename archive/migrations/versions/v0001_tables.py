"""The first tables, and the index of their words.

Each word is indexed behind the day of its job's end (four hexadecimal digits: days since 1970), so
that a search reads the words of the days that it comes to, the newest first, and not those of all
time. Writing is at the end of the index. SQLite's FTS5 stores no words of its own: triggers hold it
together with the table. PostgreSQL indexes words as they are, without a language. It puts off those
of a whole group of jobs, and the writer has them indexed together at the end of its transaction:
what is put off makes searches slow, and word by word takes three times as long.
"""

from alembic import op

from archive.tables import metadata

revision = "0001"
down_revision = None

_DAY = 88_473_600_000_000  # keys of a day
_INDEXED = """printf('%04x', {row}.n / {day}) ||
    replace({row}.words, ' ', ' ' || printf('%04x', {row}.n / {day}))"""
_SQLITE = (
    """CREATE VIRTUAL TABLE word_index USING fts5(
        words, content='', detail='none', columnsize=0, tokenize='ascii')""",
    f"""CREATE TRIGGER words_added AFTER INSERT ON words BEGIN
        INSERT INTO word_index(rowid, words)
        VALUES (new.n, {_INDEXED.format(row="new", day=_DAY)}); END""",  # noqa: S608 - our own
    f"""CREATE TRIGGER words_removed AFTER DELETE ON words BEGIN
        INSERT INTO word_index(word_index, rowid, words)
        VALUES ('delete', old.n, {_INDEXED.format(row="old", day=_DAY)}); END""",  # noqa: S608
)
# The cost has the index asked: to the planner, making the words of each row would be cheaper.
_POSTGRESQL = (
    f"""CREATE FUNCTION words_by_day(n bigint, words text) RETURNS tsvector
        LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 10000 AS $$ BEGIN
        RETURN array_to_tsvector(string_to_array(lpad(to_hex(n / {_DAY}), 4, '0') ||
            replace(words, ' ', ' ' || lpad(to_hex(n / {_DAY}), 4, '0')), ' ')); END $$""",
    """CREATE INDEX word_index ON words USING gin (words_by_day(n, words))
        WITH (gin_pending_list_limit = 16384)""",
)


def upgrade() -> None:
    """Create the tables."""
    connection = op.get_bind()
    metadata.create_all(connection)
    for statement in _SQLITE if connection.dialect.name == "sqlite" else _POSTGRESQL:
        op.execute(statement)
