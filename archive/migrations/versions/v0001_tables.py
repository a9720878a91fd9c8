"""The first tables, and the index of their words.

SQLite's FTS5 stores no words of its own (`content`); triggers hold it together with the table.
PostgreSQL indexes each word as it is, without a language: the words are made in Python.
"""

from alembic import op

from archive.tables import metadata

revision = "0001"
down_revision = None

_SQLITE = (
    """CREATE VIRTUAL TABLE word_index USING fts5(
        words, content='words', content_rowid='n', detail='none', prefix='2 3 4',
        tokenize='unicode61')""",
    """CREATE TRIGGER words_added AFTER INSERT ON words BEGIN
        INSERT INTO word_index(rowid, words) VALUES (new.n, new.words); END""",
    """CREATE TRIGGER words_removed AFTER DELETE ON words BEGIN
        INSERT INTO word_index(word_index, rowid, words)
        VALUES ('delete', old.n, old.words); END""",
)
_POSTGRESQL = (
    """CREATE INDEX word_index ON words USING gin (
        array_to_tsvector(string_to_array(words, ' ')))""",
)


def upgrade() -> None:
    """Create the tables."""
    connection = op.get_bind()
    metadata.create_all(connection)
    for statement in _SQLITE if connection.dialect.name == "sqlite" else _POSTGRESQL:
        op.execute(statement)
