"""The worker's Celery application, which keeps ended jobs for some seconds instead of a week."""

import os

from worker.app import app
from worker.stages import sweep

_KEEP_SECONDS = int(os.environ["BENCH_KEEP_SECONDS"])

sweep.STEPS = tuple(
    (script, (_KEEP_SECONDS * 1_000_000, sweep.LIMIT) if script == "retire" else arguments)
    for script, arguments in sweep.STEPS
)

__all__ = ["app"]
