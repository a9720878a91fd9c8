"""Jobs on their way to script calls: no call holds Redis up for long."""

from collections.abc import Callable, Sequence
from typing import Any

import orjson
import pytest

from runqueue.producer.chunks import Packet, packets
from runqueue.producer.dedup import Repeats
from runqueue.producer.inbox import InboxLine, check_lines
from runqueue.producer.upload import Checker

Cut = Callable[[Sequence[dict[str, Any]]], list[Packet]]


def handed(lines: Sequence[dict[str, Any]]) -> list[Packet]:
    """The packets of jobs that are submitted."""
    return list(packets(lines))


def uploaded(lines: Sequence[dict[str, Any]]) -> list[Packet]:
    """The packets of an upload."""
    with Repeats() as repeats:
        checker = Checker(repeats)
        blocks = [checker.take(n, orjson.dumps(line)) for n, line in enumerate(lines)]
        blocks.append(checker.end())
    assert checker.jobs == {"default": len(lines)}
    return [packet for block in blocks if block for packet in block.packets]


def taken(lines: Sequence[dict[str, Any]]) -> list[Packet]:
    """The packets of lines of an inbox."""
    return check_lines([InboxLine(line, "") for line in lines], "inbox", ["default"]).packets


def lines(count: int, groups: int) -> list[dict[str, Any]]:
    """Lines of jobs that take turns in so many groups."""
    body = {"prompt": "Read it.", "url": "https://shop.test"}
    return [
        {"custom_id": f"k{i}", "kind": "task", "group": f"g{i % groups}", "body": body}
        for i in range(count)
    ]


@pytest.mark.parametrize("cut", [handed, uploaded, taken])
@pytest.mark.parametrize(
    ("groups", "sizes"),
    [(1, [1_000]), (99, [1_000]), (200, [700, 300]), (1_000, [325, 325, 325, 25])],
)
def test_a_packet_takes_the_fewer_jobs_the_more_groups_they_have(
    cut: Cut, groups: int, sizes: list[int]
) -> None:
    found = cut(lines(1_000, groups))
    keys = [key for packet in found for key in packet.keys]
    assert keys == [f"k{i}" for i in range(1_000)]
    assert [len(packet.keys) for packet in found] == sizes


def test_a_group_counts_once_for_each_priority() -> None:
    some = lines(1_000, 100)
    for number, line in enumerate(some):
        line["priority"] = number // 100 % 4
    assert [len(packet.keys) for packet in handed(some)] == [325, 325, 325, 25]
