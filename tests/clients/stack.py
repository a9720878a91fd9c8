"""A queue with a gateway for tests in other languages: Valkey, simulator, a worker, a gateway.

Prints `{"url": …, "token": …}` once it serves, and then obeys: a line `stop` or `kill` ends the
gateway, `start` starts it again, and each is answered by the line; the end of its input ends all.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

from lab.gateways import Gateway
from lab.waiting import until
from tests.acceptance.factory import factory

UNLIMITED = {
    "RUNQUEUE_MAX_SUBMISSIONS_PER_SECOND": "0",
    "RUNQUEUE_MAX_REQUESTS_PER_SECOND": "0",
    "RUNQUEUE_MAX_CONCURRENT_RUNS": "2000",
}


def main() -> None:
    """Serve until the input ends."""
    with (
        tempfile.TemporaryDirectory() as name,
        factory(Path(name), ("--duration", "0.2"), **UNLIMITED) as parts,
    ):
        queue = {"RUNQUEUE_REDIS_URL": parts.redis_url, "SKYVERN_API_KEY": "simulator-key"}
        door = Gateway({**os.environ, **queue}, Path(name) / "gateway.log").start()
        try:
            parts.start_worker()
            until(lambda: "default" in parts.queue.accounts(), 60, "the worker")
            print(json.dumps({"url": door.url, "token": door.token}), flush=True)
            for line in sys.stdin:
                if line.strip() == "start":
                    door.start()
                elif door.process is not None:
                    door.kill() if line.strip() == "kill" else door.process.terminate()
                    door.process.wait(40)
                print(line.strip(), flush=True)
        finally:
            door.kill()


if __name__ == "__main__":
    main()
