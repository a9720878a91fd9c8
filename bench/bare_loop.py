"""The bound: a bare asyncio loop on the same transport object, with no queue behind it.

python -m bench.bare_loop BASE_URL COUNT CONCURRENCY   prints CPU seconds of the second half
"""

import asyncio
import sys
import time

import orjson
import uvloop

from api_client import AsyncTransport
from api_client.http.messages import RequestFactory
from config.collector import calm_collector

BODY = orjson.dumps({"prompt": "x" * 480, "url": "https://shop.test/1", "engine": "skyvern-1.0"})


async def main(base_url: str, count: int, concurrency: int) -> float:
    """Make `count` pairs of a POST and a GET and return the CPU seconds of the second half."""
    requests = RequestFactory(base_url, "simulator-key")
    left = iter(range(count))
    half = 0.0
    async with AsyncTransport() as transport:

        async def worker() -> None:
            nonlocal half
            for number in left:
                if number == count // 2:
                    half = time.process_time()
                answer = await transport.exchange(requests.make("POST", "v1/run/tasks", BODY))
                run_id = orjson.loads(answer.body)["run_id"]
                answer = await transport.exchange(requests.make("GET", f"v1/runs/{run_id}"))
                assert orjson.loads(answer.body)["status"] == "completed"

        calm_collector()  # as the worker does, so that the ratio tells of the queue alone
        await asyncio.gather(*(worker() for _ in range(concurrency)))
    return time.process_time() - half


if __name__ == "__main__":
    print(uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
