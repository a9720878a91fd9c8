"""Functions of Redis that a test makes."""

from hashlib import sha1

import redis

from runqueue.store.scripts import Script


def function_of(client: redis.Redis, name: str, body: str) -> Script:
    """Give a server a function, by the lines of Lua that it runs with `keys` and `args`."""
    function = f"{name}_{sha1(body.encode(), usedforsecurity=False).hexdigest()[:8]}"
    client.function_load(
        f"#!lua name={function}\n"
        f"redis.register_function('{function}', function(keys, args)\n{body}\nend)",
        replace=True,
    )
    return Script(name, function)
