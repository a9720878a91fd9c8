"""Several accounts on the page: each has its own, and the same page of another is a click away."""

from __future__ import annotations

from html import unescape

import pytest

from runqueue.keys import ACCOUNTS
from tests.gateway.browsing import browsing
from tests.gateway.gating import Desk

OPS = "operate-secret"


async def test_each_account_has_its_page(desk: Desk, redis_url: str) -> None:
    desk.client.sadd(ACCOUNTS, "acme")
    desk.queue.pause("acme", "why")

    async with browsing(redis_url, OPS) as browser:
        first, acme = await browser.open("/"), await browser.open("/?account=acme")

    assert "Account default" in first.words
    assert 'href="?account=acme"' in first.text
    assert "Account acme" in acme.words
    assert "Paused why" in acme.words


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("/select?what=replay&state=failed&account=default", "what=replay&state=failed"),
        ("/select?what=cancel&group=a+b&batch=x&count=1", "what=cancel&group=a+b"),
        ("/jobs?state=dead&done=1-1", "state=dead"),
    ],
)
async def test_another_account_is_shown_by_the_same_page(
    desk: Desk, redis_url: str, path: str, there: str
) -> None:
    desk.client.sadd(ACCOUNTS, "acme")

    async with browsing(redis_url, OPS) as browser:
        shown = await browser.open(path)

    assert f'href="?{there}&account=acme"' in unescape(shown.text)
