"""How figures, names and other people's texts are put into a sentence."""

from datetime import UTC, datetime


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: '1 job', '2,000 jobs'.

    Args:
        number: how many.
        noun: of one.
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def printable(text: str) -> str:
    """Return a text without what would steer the terminal."""
    return "".join(character if character.isprintable() else "�" for character in text)


def ago(since: datetime) -> str:
    """Return how long ago something was, in the largest unit that fits: '42 s', '3 h'."""
    seconds = max(0.0, (datetime.now(UTC) - since).total_seconds())
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} s"
