"""What `step_count` counts, and what `max_steps` bounds."""

from functools import partial
from typing import Any

import pytest

from lab.waiting import until
from tests.real.listener import listener
from tests.real.target import Target, over

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]


def test_steps_that_are_tried_again_are_counted_and_not_bounded_by_max_steps(
    target: Target,
) -> None:
    if not target.has_browser:
        pytest.skip("a step needs a browser: BROWSER=1")
    with listener() as page:
        body = {"prompt": "stub:error", "url": f"{page.url}/", "max_steps": 1}
        answer = target.post("/v1/run/tasks", body | {"engine": "skyvern-1.0"})
        assert answer.is_success, answer.text
        run = until(partial(_over, target, answer.json()["run_id"]), 500, "the run to be over")
    shown = {name: run[name] for name in ("status", "step_count", "failure_reason")}
    print(target.version, shown)
    assert run["status"] == "failed"
    assert run["step_count"] > 1


def _over(target: Target, run_id: str) -> dict[str, Any] | None:
    return over(target.run(run_id))
