"""The layout in Redis, as it is told and as it is checked."""

import re

from runqueue.store import keys


def test_the_types_of_the_keys_are_those_of_the_table() -> None:
    row = re.compile(r"([a-z_:]+(?:, [a-z_:<>]+)*) {2,}(hash|list|set|stream|string|zset) ")
    told = {
        name: found[2]
        for line in (keys.__doc__ or "").splitlines()
        if (found := row.match(line))
        for name in found[1].split(", ")
        if "<" not in name
    }

    assert told == keys.TYPES
