"""Jobs chosen by words of their reason: which text chooses, and which reasons it fits."""

from runqueue.errors import FieldError, InvalidRequest


def check_words(words: object) -> None:
    """Refuse what chooses no jobs: an empty text would fit every reason.

    Args:
        words: the text that reasons are to contain; None = reasons do not matter.

    Raises:
        InvalidRequest: it is no text, or an empty one.
    """
    if words is not None and not (isinstance(words, str) and words.strip()):
        raise InvalidRequest([FieldError("reason", f"expected some text, got {words!r:.40}")])


def has_words(reason: str | None, words: str | None) -> bool:
    """Return whether a reason contains a text, whatever its case; None fits all."""
    return words is None or words.lower() in (reason or "").lower()
