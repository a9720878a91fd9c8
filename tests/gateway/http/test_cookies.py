"""Cookies that anybody may send."""

from __future__ import annotations

import http.cookies

import pytest

from tests.gateway.gating import gating


async def test_cookies_are_not_unquoted(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def unquote(value: str) -> str:
        seen.append(value)
        return value

    monkeypatch.setattr(http.cookies, "_unquote", unquote)

    async with gating(redis_url) as door:
        for path in ("/", "/healthz", "/v1/stats"):
            headers = {"cookie": 'a="' + "\\a" * 1_000 + '"; b=c'}
            await door.ask("GET", path, headers=headers)

    assert len(seen) >= 6
    assert {value[:1] for value in seen} == {"\\", "c"}
