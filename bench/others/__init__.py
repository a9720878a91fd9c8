"""Other queues at the same work: each a small program as a user of that tool would write it.

`celery_runs`, `arq_runs`, `dramatiq_runs`, `taskiq_runs` and `bullmq_runs.mjs` submit a run, look
at it every `LOOK_SECONDS` by the tool's own means, and stop when it is over. Their tools live in
environments of their own under `.bench` (`environments`), so these modules import nothing of ours
but `told`. `contenders` starts any of them, or our worker, in the same way; `cost`, `in_flight`,
`limited` and `faulty` measure, and `bench.versus` prints.
"""
