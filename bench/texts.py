"""Requests and answers as they look in practice: prose, names, numbers and signed URLs.

What repeats as it does here and nowhere else would be compressed away, so little does: sentences
are drawn from many, and what they name is drawn again each time.
"""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

_SENTENCES = (
    "Open the supplier portal of {firm} and sign in with the saved access for branch {number}.",
    "Find the bill dated {date} over {amount} euros and note its reference before anything else.",
    "If something covers the page, decline everything that is optional and carry on.",
    "Search the register for {person} of {street} {number} in {town}, and pick the newest entry.",
    "Write down opening hours, telephone number and whether wheelchair access is mentioned.",
    "Never press the button that places the order; stop as soon as its summary is shown.",
    "Where several results share a title, prefer the one published by {firm} after {date}.",
    "Deliver to {person}, {street} {number}, {zip} {town}, and leave the notes empty.",
    "Sort the table by what things cost, lowest first, and go through no more than {few} pages.",
    "Report the permit's number, the officer in charge and when the decision takes effect.",
    "When the site wants a one-time code, wait for it instead of requesting a second one.",
    "Give up with an explanation if the account of {person} is locked or has expired.",
    "Compare the shipping cost to {town} with {amount} euros and mention which is higher.",
    "Save the statement for the quarter that ends on {date} as a document, not a spreadsheet.",
    "The listing is finished once its photograph, its weight and its origin are known.",
    "Ignore sponsored entries, and treat everything below 'Similar products' as noise.",
    "Answer the questions for a household of {few} people living in {town} since {date}.",
    "Check whether parcel {zip}{number} has left the warehouse of {firm} and who signed for it.",
    "Choose the earliest appointment in {town} that is not on a weekend or before {date}.",
    "Read the energy label, the noise level in decibels and the guarantee that {firm} grants.",
)
_FIRMS = (
    *("Harborline", "Northgate Supply", "Quill & Sons", "Tessera", "Blue Fennel", "Kitewood"),
    *("Ostrava Metals", "Marlow Freight", "Pinecrest Dental", "Voltaire Books", "Juniper Labs"),
    *("Redwing Tools", "Solace Energy", "Copperfield", "Amberley Foods"),
)
_FIRST = (
    *("Miriam", "Tobias", "Ngozi", "Hannes", "Priya", "Lucía", "Owen"),
    *("Yuki", "Fatima", "Björn", "Chloe", "Dmitri", "Amara"),
)
_LAST = (
    *("Okafor", "Lindqvist", "Hartmann", "Beaumont", "Castellanos"),
    *("Whitaker", "Nakamura", "Petrovic", "Varga"),
)
_STREETS = ("Mill Lane", "Gartenweg", "Rue Pasteur", "Elm Street", "Calle Mayor", "Harbour Road")
_TOWNS = (
    *("Leeds", "Graz", "Nantes", "Tulsa", "Zaragoza", "Bergen"),
    *("Turin", "Halifax", "Gdynia", "Antwerp", "Brno", "Aarhus"),
)
_KINDS = (
    *("walnut", "folding", "cordless", "ceramic", "waterproof"),
    *("compact", "brushed", "insulated", "quiet"),
)
_THINGS = (
    *("lamp", "kettle", "drill", "notebook", "helmet", "blanket"),
    *("charger", "backpack", "filter", "saddle", "stove"),
)
_FILES = "https://skyvern-artifacts.s3.amazonaws.com/v1/production"


def body(number: int, size: int) -> dict[str, Any]:
    """Return a request of `size` bytes, the same each time for the same number."""
    chance = random.Random(number)
    made: dict[str, Any] = {
        "prompt": "",
        "url": f"https://{_host(chance)}/item/{number}",
        "engine": "skyvern-2.0",
        "title": f"Item {number}",
        "max_steps": 25,
        "webhook_url": "https://hooks.test/skyvern",
    }
    room = size - len(orjson.dumps(made))
    sentences = chance.sample(_SENTENCES, len(_SENTENCES))
    text = " ".join(sentence.format_map(_words(chance)) for sentence in sentences)
    prompt = text.encode()[:room].decode(errors="ignore")
    return made | {"prompt": prompt + "." * (room - len(prompt.encode()))}


def answer(number: int, request: dict[str, Any], output_bytes: int, *, whole: bool = True) -> bytes:
    """Return what the API says of the run of a request.

    Args:
        number: of the request.
        request: which the whole answer repeats.
        output_bytes: of what the run brought, about.
        whole: whether it has all fields that Skyvern's have by now; else those of the first ones.
    """
    chance = random.Random(-1 - number)
    run_id = run_of(number)
    begun = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=chance.uniform(0, 1e6))
    took = chance.uniform(60, 900)
    folder = f"{_FILES}/o_{chance.randrange(4 * 10**17, 5 * 10**17)}/{run_id}"
    first: dict[str, Any] = {
        "run_id": run_id,
        "status": "completed",
        "output": {"items": _items(chance, output_bytes)},
        "failure_reason": None,
        "created_at": _stamp(begun, 0),
    }
    if not whole:
        return orjson.dumps(first)
    return orjson.dumps(
        first
        | {
            "run_type": "task_v2",
            "downloaded_files": [],
            "recording_url": f"{folder}/recording.webm?{_signature(chance)}",
            "screenshot_urls": [f"{folder}/{chance.randrange(10**12)}.png?{_signature(chance)}"],
            "errors": [],
            "modified_at": _stamp(begun, took + chance.random()),
            "queued_at": _stamp(begun, chance.random()),
            "started_at": _stamp(begun, 1 + chance.random()),
            "finished_at": _stamp(begun, took),
            "app_url": f"https://app.skyvern.com/runs/{run_id}",
            "step_count": chance.randrange(2, 25),
            "attempt": 1,
            "retry_pending": False,
            "next_attempt_at": None,
            "run_request": request,
        }
    )


def run_of(number: int) -> str:
    """Return the id of the run of a request."""
    return f"tsk_v2_{random.Random(number).randrange(4 * 10**17, 5 * 10**17)}"


def _items(chance: random.Random, size: int) -> list[dict[str, Any]]:
    """Return what a run has read off a page, about so many bytes of JSON."""
    items: list[dict[str, Any]] = []
    while len(orjson.dumps(items)) < size - 120:
        words = _words(chance)
        thing = f"{chance.choice(_KINDS)} {chance.choice(_THINGS)}"
        items.append(
            {
                "name": f"{words['firm']} {thing}",
                "sku": f"{chance.choice('ABCDEFGH')}{chance.randrange(10**8):08}",
                "price": round(chance.uniform(3, 2000), 2),
                "currency": chance.choice(("EUR", "USD", "GBP")),
                "in_stock": chance.random() < 0.7,
                "seller": words["person"],
                "ships_from": words["town"],
                "url": f"https://{_host(chance)}/p/{chance.randrange(10**8)}/{thing[:7]}",
            }
        )
    return items


def _words(chance: random.Random) -> dict[str, str]:
    """Return what a sentence may name."""
    day = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=chance.randrange(700))
    return {
        "firm": chance.choice(_FIRMS),
        "person": f"{chance.choice(_FIRST)} {chance.choice(_LAST)}",
        "street": chance.choice(_STREETS),
        "town": chance.choice(_TOWNS),
        "date": day.strftime("%d %B %Y"),
        "amount": f"{chance.uniform(5, 9000):.2f}",
        "number": str(chance.randrange(1, 900)),
        "zip": str(chance.randrange(10_000, 99_999)),
        "few": str(chance.randrange(2, 9)),
    }


def _host(chance: random.Random) -> str:
    return f"{chance.choice(_FIRMS).split()[0].lower()}.test"


def _signature(chance: random.Random) -> str:
    return f"Signature={chance.getrandbits(160):040x}&Expires={chance.randrange(10**9)}"


def _stamp(begun: datetime, seconds: float) -> str:
    moment = (begun + timedelta(seconds=seconds)).replace(tzinfo=None)
    return moment.isoformat(timespec="microseconds")
