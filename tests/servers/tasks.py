"""The service as a task of Celery's."""

import os

from celery import Celery

from tests.servers.app import answer

BROKER = os.environ["BROKER_URL"]
celery = Celery("tasks", broker=BROKER, backend=BROKER)
celery.conf.update(worker_prefetch_multiplier=1, broker_connection_retry_on_startup=True)
celery.task(name="answer")(answer)
