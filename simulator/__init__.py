"""A stand-in for the Skyvern run API: same routes and shapes, real delays, faults on demand.

`python -m simulator --port 8000` serves it; a test serves it within its own event loop:

    async with serving(Simulator(Options(duration=0.1))) as url:
        ...

A submission goes through `app` (count, faults, key) to a call of `routes`. `bodies` parses it with
the models of `fields`, `submissions` turns it into the server's form (`workflows` casts parameters,
`urls` rewrites addresses), and `store` makes it a run with a future from `plan`; `runs` reads its
status off the clock. `answers` shows runs, `records` shows them as webhooks and older routes do,
`search` lists them; `tags` and `sessions` are those of the API. `webhooks` reports ends, `ledger`
counts what really happened, `faults` chooses faults, and `misbehave` carries them out. `releases`
has the differences of the imitated versions; `tests/real/test_conformance.py` compares all of this
with a real server.

A request can force its run's future by the keys `sim_end`, `sim_seconds` and `sim_output_bytes`, in
the query of a task's URL or among a workflow's parameters.
"""
