"""A stand-in for the Skyvern run API: same routes and shapes, real delays, faults on demand.

`python -m simulator --port 8000` serves it; a test serves it within its own event loop:

    async with serving(Simulator(Options(duration=0.1))) as url:
        ...

A submission comes in by `app` (the door: count, faults, key) and a call of `routes`, is read by
`bodies` as `fields` says, becomes by `submissions` what the server makes of it (its `workflows`
cast the parameters, `urls` writes addresses anew), then a run in `store` with a future from `plan`,
and its status is read off the clock by `runs`. `answers` shows runs, `records` shows them as
webhooks and older routes do, `search` lists them, `tags` and `sessions` are what their names say.
`webhooks` reports ends, `ledger` knows what really happened, and `faults` decides what goes wrong,
which `misbehave` carries out. `releases` tells the imitated versions apart; what all of this does
is compared with a real server by `tests/real/test_conformance.py`.

A request can force its run's future by the keys `sim_end`, `sim_seconds` and `sim_output_bytes`, in
the query of a task's URL or among a workflow's parameters.
"""
