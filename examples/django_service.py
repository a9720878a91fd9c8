"""A Django service that has prices read: it submits jobs to the queue, and waits for them.

    pip install django /path/to/runqueue
    RUNQUEUE_REDIS_URL=redis://… python django_service.py runserver

Its views are plain ones, so it runs under WSGI and ASGI alike. In a project of yours the settings
stand where they always do; the queue and the views are the same.
"""

import json
import os
import sys
from functools import cache

from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.management.utils import get_random_secret_key
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.http import require_GET, require_POST

from runqueue import IdempotencyConflict, JobNotFound, QueueUnavailable, RunQueue, TaskRunRequest

settings.configure(
    ALLOWED_HOSTS=["localhost", "127.0.0.1", "testserver"],
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.environ.get("DJANGO_SECRET_KEY") or get_random_secret_key(),
)


@cache
def the_queue() -> RunQueue:
    """Return the process' queue: threads may share it, and a fork makes it anew."""
    return RunQueue()


def ask_for_price(request: HttpRequest) -> JsonResponse:
    """Submit a job; the order's name is its key, so asking twice makes one run."""
    try:
        wanted = json.loads(request.body)
        job = the_queue().enqueue(
            TaskRunRequest(prompt="Read the price.", url=wanted["page"]),
            group="prices",
            idempotency_key=wanted["order"],
        )
    except (ValueError, KeyError, TypeError) as error:  # runqueue's InvalidJob names the fields
        return JsonResponse({"detail": str(error)}, status=422)
    except IdempotencyConflict as error:
        detail = f"{error.key} was asked for with another page"
        return JsonResponse({"detail": detail}, status=409)
    except QueueUnavailable:
        return JsonResponse({"detail": "try again"}, status=503)
    return JsonResponse({"job": job.job_id}, status=202)


def price(request: HttpRequest, job_id: str) -> JsonResponse:
    """Return the price; with `wait` the answer comes as soon as it is there."""
    try:
        seconds = int(str(request.GET.get("wait", "0")))
        job = the_queue().wait(job_id, timeout=min(seconds, 60))
    except ValueError:
        return JsonResponse({"detail": "wait: expected a number"}, status=422)
    except JobNotFound:
        return JsonResponse({"detail": "no such job"}, status=404)
    except TimeoutError:
        return JsonResponse({"job": job_id, "state": "under way"}, status=202)
    shown = {"state": job.state, "price": job.output, "why": job.failure_reason}
    return JsonResponse({"job": job_id, **shown})


urlpatterns = [
    path("prices", require_POST(ask_for_price)),
    path("prices/<str:job_id>", require_GET(price)),
]
application = get_wsgi_application()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
