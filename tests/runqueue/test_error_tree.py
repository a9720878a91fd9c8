"""The errors as one tree: what is drawn, what there is, and what a producer can import."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator
from dataclasses import fields
from inspect import isclass

import pytest

import runqueue
from runqueue import errors
from runqueue.errors import RunQueueError

#: A value for each field of an error that says its values in a sentence.
VALUES = {"int": 7, "str": "a {b} '%s'"}
CLASSES = {
    name: error
    for name, error in vars(errors).items()
    if isclass(error) and issubclass(error, RunQueueError) and not name.startswith("_")
}
SENTENCES = [error for error in CLASSES.values() if issubclass(error, errors._WithFields)]


def drawn() -> Iterator[tuple[str, str | None]]:
    """Yield each error of the tree at the module's top, and the one that it hangs on."""
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"([│├└─ ]*)(\w+)(?: {2,}\S|$)", line):
            depth = len(found[1]) // 4
            del above[depth:]
            yield found[2], above[-1] if above else None
            above.append(found[2])


def base_of(error: type[RunQueueError]) -> str | None:
    """Return the nearest error that one is a kind of, of those that have a name outside."""
    bases = (base.__name__ for base in error.__mro__[1:])
    return next((name for name in bases if name in CLASSES), None)


def test_the_tree_that_is_drawn_is_that_of_the_classes() -> None:
    assert dict(drawn()) == {name: base_of(error) for name, error in CLASSES.items()}


def test_every_error_can_be_imported_from_the_package() -> None:
    assert set(CLASSES) - set(runqueue.__all__) == set()
    assert all(getattr(runqueue, name) is error for name, error in CLASSES.items())


@pytest.mark.parametrize("error", SENTENCES)
@pytest.mark.parametrize("by_name", [False, True])
def test_an_error_says_its_values_and_survives_pickling(
    error: type[errors._WithFields], by_name: bool
) -> None:
    values = {field.name: VALUES[str(field.type)] for field in fields(error)}
    made = error(**values) if by_name else error(*values.values())

    copy = pickle.loads(pickle.dumps(made))

    assert str(copy) == str(made)
    assert {name: getattr(copy, name) for name in values} == values
    assert any(str(value) in str(made) or repr(value) in str(made) for value in values.values())
    assert error.__doc__ is not None
    assert repr(made) == f"{error.__name__}({', '.join(map(repr, values.values()))})"
