"""Limits on keys over HTTP."""

from tests.gateway.gating import Desk, gating

LINE = {"kind": "task", "body": {"prompt": "x", "url": "https://shop.example/17"}}


async def test_a_limit_is_set_whole_shown_and_cleared(desk: Desk, redis_url: str) -> None:
    path = "/v1/keys/host:shop.example"
    async with gating(redis_url) as door:
        for n in range(3):
            await door.ask("POST", "/v1/jobs", {**LINE, "custom_id": str(n)})
        first = (await door.ask("PUT", path, {"max_concurrent": 1, "per_minute": 30})).body
        taken = desk.claim()
        shown = (await door.ask("GET", "/v1/keys")).body["keys"]
        waiting = (await door.ask("GET", "/v1/jobs?state=ready")).body["jobs"]
        again = (await door.ask("PUT", path, {"per_hour": 10})).body
        changed = (await door.ask("GET", "/v1/keys")).body["keys"]
        cleared = [(await door.ask("DELETE", path)).body for _ in range(2)]

    assert first == {"key": "host:shop.example", "had_limit": False}
    assert len(taken) == 1
    assert {**shown[0], "waiting_since": None} == {
        "key": "host:shop.example",
        "max_concurrent": 1,
        "interval_seconds": 2.0,
        "live": 1,
        "waiting": 2,
        "waiting_since": None,
        "has_limit": True,
        "paused_until": None,
    }
    assert {(job["waits_for"][0]["name"], *job["keys"]) for job in waiting} == {
        ("host:shop.example", "host:shop.example")
    }
    assert again["had_limit"] is True
    assert (changed[0]["max_concurrent"], changed[0]["interval_seconds"]) == (None, 360.0)
    assert [one["had_limit"] for one in cleared] == [True, False]
