"""The worker's Celery application, which gives messages back, and gets them again, in seconds."""

from worker import celery_intake
from worker.app import app

celery_intake.PATIENCE_SECONDS = 1.0
app.conf.broker_transport_options["visibility_timeout"] = 8
app.conf.broker_transport_options["unacked_restore_interval"] = 1

__all__ = ["app"]
