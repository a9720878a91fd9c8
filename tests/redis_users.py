"""The users of Redis that the operations page sets up, as it sets them up."""

import re
import shlex
from pathlib import Path

import redis

_PAGE = Path(__file__).parents[1] / "docs/operations.md"
PASSWORD = "a-long-password"


def set_users(port: int) -> set[str]:
    """Run the page's commands on a server, and return the users' names."""
    section = _PAGE.read_text().partition("## Who may do what in Redis")[2].partition("\n## ")[0]
    (block,) = re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    lines = block.replace("\\\n", " ").splitlines()
    with redis.Redis(port=port) as admin:
        commands = [shlex.split(line) for line in lines]
        for words in commands:
            assert words[:3] == ["redis-cli", "-u", "$RUNQUEUE_REDIS_URL"]
            admin.execute_command(*words[3:])
    return {words[5] for words in commands}


def url_of(user: str, port: int, database: int = 0) -> str:
    """Return the URL that a user has."""
    return f"redis://{user}:{PASSWORD}@127.0.0.1:{port}/{database}"
