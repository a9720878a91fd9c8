"""The layout in Redis: the table, what scripts and Python name, and what is checked."""

import re

from runqueue.store.keys import Keys, rows
from runqueue.store.scripts import sources

#: A key that is never written: what stands for one that is not there.
_NEVER = "nothing"


def fixed(name: str) -> str:
    """Return what a key begins with, up to its first variable part."""
    return name.partition("<")[0]


def scripts() -> str:
    """Return the text of all scripts and of what they share."""
    return "\n".join(source.read_text() for source in sources().values())


def test_the_types_of_the_keys_are_those_of_the_table() -> None:
    types = dict(rows())
    assert [types[name] for name in ("due", "poll", "wake", "groups", "audit", "meta")] == [
        *("zset", "zset", "list", "set", "stream", "hash")
    ]


def test_the_table_has_every_key_that_a_script_names() -> None:
    told = {fixed(name) for name, _ in rows()}
    # One that names its variable part, too: `active_consumers:submit`.
    missing = {
        name
        for name in set(re.findall(r"PREFIX \.\. '([^']+)'", scripts())) - {_NEVER}
        if name not in told and not any(one.endswith(":") and name.startswith(one) for one in told)
    }
    assert missing == set()


def test_a_script_names_every_key_of_the_table() -> None:
    named = scripts()
    unused = {name for name, _ in rows() if f"'{fixed(name)}" not in named}
    assert unused == set()


def test_the_keys_that_python_makes_are_those_of_the_table() -> None:
    made = Keys("a")
    here = [made.meta, made.wake(), made.wake("p"), made.ended, made.ended_on(1)]
    told = {fixed(name) for name, _ in rows()}
    for key in here:
        name = key.removeprefix(made.prefix)
        assert name in told or f"{name.rpartition(':')[0]}:" in told
