"""Budgets over HTTP."""

from tests.gateway.gating import Desk, gating

LINE = {"kind": "task", "body": {"prompt": "x", "url": "https://shop.example/17"}}


async def test_a_budget_is_set_shown_and_cleared(desk: Desk, redis_url: str) -> None:
    path = "/v1/budgets/key:customer:*"
    async with gating(redis_url) as door:
        for n in range(3):
            line = {**LINE, "custom_id": str(n), "keys": ["customer:acme"]}
            await door.ask("POST", "/v1/jobs", line)
        first = (await door.ask("PUT", path, {"steps": 10, "per": "month"})).body
        taken = desk.claim()
        shown = (await door.ask("GET", "/v1/budgets")).body["budgets"]
        waiting = (await door.ask("GET", "/v1/jobs?state=ready")).body["jobs"]
        again = (await door.ask("PUT", path, {"steps": 20})).body
        cleared = [(await door.ask("DELETE", path)).body for _ in range(2)]

    assert first == {"scope": "key:customer:*", "had_budget": False}
    assert len(taken) == 1
    assert (shown[0]["scope"], shown[0]["steps"], shown[0]["per"]) == (
        "key:customer:*",
        10,
        "month",
    )
    assert {job["waits_for"][0]["name"] for job in waiting} == {"key:customer:acme"}
    assert again["had_budget"] is True
    assert [one["had_budget"] for one in cleared] == [True, False]


async def test_a_job_without_max_steps_is_refused_under_a_strict_budget(redis_url: str) -> None:
    async with gating(redis_url) as door:
        await door.ask("PUT", "/v1/budgets/account", {"steps": 50, "strict": True})
        refused = await door.ask("POST", "/v1/jobs", LINE)
        body = {**LINE["body"], "max_steps": 5}  # type: ignore[dict-item]
        taken = await door.ask("POST", "/v1/jobs", {**LINE, "body": body})

    assert refused.status == 422
    assert refused.body["errors"][0]["field"] == "body.max_steps"
    assert taken.status == 202
