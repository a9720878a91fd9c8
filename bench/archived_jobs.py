"""Jobs of sixty days, as an archiver would hand them over: the same each time for the same number.

Thirty groups, of which the first are the largest, twenty workflows, batches of 500, twelve reasons
for failures with ids, URLs and numbers in them.
"""

import random
from functools import lru_cache
from typing import Any, Final

import orjson

from archive.rows import EndedJob
from bench import texts
from runqueue.ids import job_id_for

ACCOUNT: Final = "default"
#: The first end, and how long ends go on, in microseconds.
BEGUN_US, LASTING_US = 1_767_225_600_000_000, 60 * 86_400_000_000
GROUPS, WORKFLOWS, BATCH = 30, 20, 500
#: Bytes of a request, and of what its run brings.
BODY_BYTES, OUTPUT_BYTES = 1_200, 1_000
#: Different requests and answers, but for what names the job: making one takes half a millisecond.
_POOL: Final = 20_000

_REASONS: Final = (
    ("PAGE_TIMEOUT", "Timeout {n} ms exceeded while waiting for https://shop{n}.test/item/{n}"),
    ("PAGE_TIMEOUT", "Navigation to https://portal.test/login?s={id} took longer than {n} s"),
    ("LLM_ERROR", "The model answered 529 overloaded, request req_{id}"),
    ("LLM_ERROR", "The answer of step {n} is no JSON: unexpected token at position {n}"),
    ("LOGIN_FAILED", "The portal refused the password of user{n}@mail.test"),
    ("LOGIN_FAILED", "A captcha appeared at https://portal.test/{id} and could not be solved"),
    ("ELEMENT_NOT_FOUND", "No element matches button #{n} of the page {id}"),
    ("ELEMENT_NOT_FOUND", "The table of invoices has {n} rows, but none for order {n}"),
    ("NETWORK_ERROR", "net::ERR_CONNECTION_RESET at 10.0.{n}.7:443"),
    ("NETWORK_ERROR", "net::ERR_NAME_NOT_RESOLVED for https://vendor{n}.test/"),
    ("MAX_STEPS_REACHED", "The run used all of its {n} steps before {id} was done"),
    ("", "The browser of run tsk_{id} went away"),
)


def ended_us(number: int, count: int) -> int:
    """Return when a job ended.

    Args:
        number: of the job.
        count: how many there are; later numbers end later, but for some seconds.
    """
    step = LASTING_US / count
    return BEGUN_US + int(number * step + random.Random(number).random() * 3 * step)


def job_id(number: int) -> str:
    """Return a job's id."""
    return job_id_for(ACCOUNT, "", f"order-{number}")


def batch_id(number: int) -> str:
    """Return the id of the batch that a job belongs to, if it belongs to one."""
    return job_id_for(ACCOUNT, "batch", str(number // BATCH))


def made(number: int, count: int) -> EndedJob:
    """Return a job.

    Args:
        number, count: as for `ended_us`.
    """
    chance = random.Random(~number)
    state = chance.choices(("completed", "failed", "canceled", "dead"), (885, 85, 20, 10))[0]
    request, answer = (dict(part) for part in _texts(number % _POOL))
    request |= {"url": f"{request['url']}/{number}", "title": f"Item {number}"}
    envelope = {"k": "t", "c": f"order-{number}"}
    envelope |= {name: request.pop(name) for name in ("title", "webhook_url")}
    if chance.random() < 0.4:
        chosen = int(WORKFLOWS * chance.random() ** 2)
        envelope |= {"k": "w", "w": f"wpid_{chosen}"}
        request = {"workflow_id": f"wpid_{chosen}", "parameters": request}
    if chance.random() < 0.0005:
        request["prompt"] = f"{request.get('prompt', '')} zeppelin"
    answer["run_id"] = texts.run_of(number)
    ended = ended_us(number, count)
    fields = _record(number, ended, state, chance)
    if state == "failed":
        answer |= {"status": "failed", "failure_reason": fields["reason"], "output": None}
    body = orjson.dumps(envelope) + b"\n" + orjson.dumps(request)
    record = {name: str(value).encode() for name, value in fields.items()}
    result = b"" if state in {"canceled", "dead"} else orjson.dumps(answer)
    return EndedJob(ACCOUNT, job_id(number), record, body, result)


@lru_cache(_POOL)
def _texts(number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    request = texts.body(number, BODY_BYTES)
    answer = texts.answer(number, request, OUTPUT_BYTES, whole=False)
    return request, orjson.loads(answer)


def _record(number: int, ended: int, state: str, chance: random.Random) -> dict[str, Any]:
    ran, waited = chance.lognormvariate(5, 0.8), chance.lognormvariate(3, 1.5)
    started = ended - int(1e6 * ran)
    created = started - int(1e6 * waited)
    steps = chance.randrange(2, 25)
    fields: dict[str, Any] = {
        "state": state,
        "created": created,
        "taken": started - 400_000,
        "started": started,
        "ended": ended,
        "attempt": 1,
        "runs": 1,
        "priority": 2,
        "group": f"g{int(GROUPS * chance.random() ** 2)}",
        "run_id": texts.run_of(number),
        "run_status": state,
        "usage": f"{steps}:{3 * steps}:{steps // 3}:",
        "process": "worker-1",
        "delivery": chance.choices(("delivered", "abandoned"), (99, 1))[0],
        "delivery_at": ended + 300_000,
        "url": "https://hooks.test/skyvern",
        "metadata": orjson.dumps({"order": str(number), "env": "prod"}).decode(),
    }
    if number // BATCH % 2:
        fields["batch"] = batch_id(number)
    if state in {"failed", "dead"}:
        category, reason = _REASONS[int(len(_REASONS) * chance.random() ** 1.5)]
        words = {"n": chance.randrange(10, 90_000), "id": f"{chance.getrandbits(48):012x}"}
        fields["reason"] = reason.format_map(words)
        if state == "failed" and category:
            fields["category"] = category
    if state == "dead":
        for name in ("started", "run_id", "run_status", "usage"):
            del fields[name]
    return fields
