"""URLs of the queue: one server, a cluster, or sentinels; and what a malformed one may not show."""

from collections.abc import Callable
from typing import Any

import pytest

from runqueue.connection.client import async_client, sync_client
from runqueue.connection.urls import ServerAddress, ServerKind, kind_of, listening_urls, several
from runqueue.errors import MalformedURL


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("redis://h/0", ServerKind.SERVER),
        ("unix:///run/redis.sock", ServerKind.SERVER),
        ("redis+cluster://h:1", ServerKind.CLUSTER),
        ("rediss+sentinel://h:1/queue", ServerKind.SENTINEL),
    ],
)
def test_the_scheme_says_what_is_behind_a_url(url: str, kind: ServerKind) -> None:
    assert kind_of(url) is kind


def test_the_nodes_of_a_cluster_share_user_password_and_options() -> None:
    place = several("redis+cluster://me:p%40ss@a:7000,b,[::1]:7002?socket_timeout=2")

    assert place == ServerAddress(
        ServerKind.CLUSTER,
        [("a", 7000), ("b", 6379), ("::1", 7002)],
        {"username": "me", "password": "p@ss", "socket_timeout": 2.0},
    )


def test_sentinels_come_with_a_name_and_a_database() -> None:
    place = several("redis+sentinel://:secret@a,b:26380/queue/3?sentinel_password=other")

    assert place == ServerAddress(
        ServerKind.SENTINEL,
        [("a", 26379), ("b", 26380)],
        {"password": "secret", "db": 3, "sentinel_password": "other"},
        "queue",
    )


def test_any_node_of_a_cluster_is_listened_at() -> None:
    assert listening_urls("rediss+cluster://:s@a:1,b:2?ssl_cert_reqs=none") == [
        "rediss://:s@a:1/0?ssl_cert_reqs=none",
        "rediss://:s@b:2/0?ssl_cert_reqs=none",
    ]
    assert listening_urls("redis://a/0") == ["redis://a/0"]


@pytest.mark.parametrize("connect", [sync_client, async_client])
@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://:hush@",
        "redis+cluster://:hush@a:1/2",
        "redis+cluster://:hush@a:1,b:port",
        "redis+cluster://:hush@a:1?colour=red",
        "redis+cluster://:hush@a:1,:2",
        "redis+sentinel://:hush@a:1",
        "redis+sentinel://:hush@a:1/0",
        "redis+sentinel://:hush@a:1/queue/x",
        "redis+sentinel://:hush@a:1/queue/0?colour=red",
        "redis+other://:hush@a:1",
    ],
)
def test_a_malformed_url_is_refused_before_anything_is_asked_and_is_not_shown(
    connect: Callable[[str], Any], url: str
) -> None:
    with pytest.raises(MalformedURL) as caught:
        connect(url)

    assert "hush" not in str(caught.value)
