"""What is remembered of runs is bounded, in number and in bytes."""

import pytest

from worker.runs import listed_runs


def test_the_oldest_goes_where_too_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listed_runs, "MAX_REMEMBERED", 2)
    kept = listed_runs._Remembered()
    for name in ("a", "b", "c"):
        kept.add(name, {"of": name})
    assert [kept.get(name) for name in ("a", "b", "c")] == [None, {"of": "b"}, {"of": "c"}]


def test_the_oldest_go_where_too_many_bytes_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listed_runs, "MAX_REMEMBERED_BYTES", 200)
    kept = listed_runs._Remembered()
    for name, length in (("a", 40), ("b", 40), ("b", 50), ("c", 60), ("d", 201), ("e", 100)):
        kept.add(name, {"of": length * "x"})
        assert (kept.get(name) is not None) is (length <= 200), name
    assert [kept.get(name) for name in ("a", "b", "c", "d")] == [None] * 4
