"""What runs cost, as commands show it."""

import json

from runqueue.records.claim_items import Finished, RunAccepted
from runqueue.store import worker_calls
from runqueue.store.sending import run
from tests.runqueue.cli.commanding import Desk, batch_of, line


def end(desk: Desk, figures: str) -> None:
    """End whatever is ready, with runs that took so much."""
    jobs = desk.claim()
    runs = [RunAccepted(j.job_id, j.attempt, f"wr_{j.job_id}", "", 0) for j in jobs]
    run(desk.client, worker_calls.mark_running("default", runs))
    ends = [
        Finished(one.job_id, one.attempt, one.run_id, "failed", "failed", "", b"{}", figures)
        for one in runs
    ]
    run(desk.client, worker_calls.finish("default", ends))


def test_jobs_batches_and_groups_say_what_they_cost(either: Desk) -> None:
    either.environ["RUNQUEUE_PRICE_PER_CREDIT"] = "0.05"
    batch = batch_of(either, line("a", group="acme"), line("b", group="acme"))
    end(either, "::4:7:2::LLM_ERROR:")

    shown = either.run("status", "a").stdout
    assert "LLM_ERROR" in shown
    assert "0.35" in shown
    assert either.json("status", "a")["credits"] == 7
    shown = either.run("batch", "show", batch).stdout
    assert "0.70" in shown
    assert either.json("batch", "show", batch)["credits"] == 14
    rows = either.run("stats", "--by", "group").stdout.splitlines()
    assert rows[-1].split() == ["default", "acme", "2", "14", "4", "0", "0.70"]
    assert (
        "used 8 steps, 14 credits (4 cached), cost 0.70 (credits of 2 runs)"
        in either.run("stats").stdout
    )
    (acme,) = either.json("stats", "--by", "group")["default"]
    assert (acme["group"], acme["runs"], acme["credits"]) == ("acme", 2, 14)


def test_results_have_what_runs_took(either: Desk) -> None:
    batch = batch_of(either, line("a"))
    end(either, "::4:7:2::LLM_ERROR:")

    (row,) = map(json.loads, either.run("results", batch).stdout.splitlines())
    assert (row["steps"], row["credits"], row["failure_category"]) == (4, 7, "LLM_ERROR")


def test_a_price_that_is_none_shows_no_cost(desk: Desk) -> None:
    desk.environ["RUNQUEUE_PRICE_PER_CREDIT"] = "much"
    batch = batch_of(desk, line("a"))
    end(desk, "::4:7:2:::")

    assert "cost" not in desk.run("stats").stdout
    assert desk.run("batch", "show", batch).exit_code == 0
