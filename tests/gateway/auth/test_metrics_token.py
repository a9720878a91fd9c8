"""Metrics for Prometheus: by a token of its own, which opens nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.auth.metrics_token import BadTokenFile, scrape_token
from tests.gateway.gating import gating, token
from tests.gateway.test_process import process

PAGES = ("/metrics", "/metrics/queue")


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


@pytest.mark.parametrize("tokens", [(), (token("ops", "a-read-secret", "read"),)])
async def test_the_scrape_token_opens_the_metrics_and_nothing_else(
    redis_url: str, tmp_path: Path, tokens: tuple[object, ...]
) -> None:
    file = tmp_path / "scrape-token"
    public = "https://hooks.example.com"
    async with gating(
        redis_url, scrape_token_file=file, api_tokens=tokens, public_url=public
    ) as door:
        own = bearer(file.read_text().strip())
        for page in PAGES:
            assert (await door.ask("GET", page, headers=own)).status == 200
            assert (await door.ask("GET", page, headers={"authorization": ""})).status == 401
            assert (await door.ask("GET", page, headers=bearer("another-secret"))).status == 401
        for path in ("/v1/stats", "/openapi.json", "/v1/events"):
            assert (await door.ask("GET", path, headers=own)).status == 401


async def test_who_may_read_may_scrape_whatever_the_scrape_token_is(
    redis_url: str, tmp_path: Path
) -> None:
    tokens = (token("ops", "a-read-secret", "read"), token("shop", "an-enqueue-secret", "enqueue"))
    file = tmp_path / "scrape-token"
    async with gating(redis_url, scrape_token_file=file, api_tokens=tokens) as door:
        for page in PAGES:
            answer = await door.ask("GET", page, headers=bearer("a-read-secret"))
            assert answer.status == 200
            answer = await door.ask("GET", page, headers=bearer("an-enqueue-secret"))
            assert answer.status == 403


async def test_where_no_tokens_are_set_up_the_gateway_s_own_opens_the_metrics_too(
    redis_url: str, tmp_path: Path
) -> None:
    async with gating(redis_url, scrape_token_file=tmp_path / "scrape-token") as door:
        for path in PAGES:
            assert (await door.ask("GET", path)).status == 200
            nobody = await door.ask("GET", path, headers={"authorization": ""})
            assert nobody.status == 401


def test_a_token_that_is_there_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "scrape-token"
    file.write_text("a-token-of-an-operator\n")
    first = scrape_token(file)

    assert file.read_text() == "a-token-of-an-operator\n"
    assert scrape_token(file) == first
    assert scrape_token(None) is None


def test_a_gateway_that_cannot_make_its_token_says_so_and_ends(
    tmp_path: Path, redis_url: str
) -> None:
    file = tmp_path / "nowhere" / "scrape-token"
    settings = {"RUNQUEUE_REDIS_URL": redis_url, "RUNQUEUE_SCRAPE_TOKEN_FILE": str(file)}
    with process(tmp_path, **settings) as started:
        said = started.communicate(timeout=60)[1]

        assert started.returncode == 1
    assert f"RUNQUEUE_SCRAPE_TOKEN_FILE: cannot use {file} (No such file or directory)" in said


def test_a_file_that_holds_no_token_is_refused_and_not_told(tmp_path: Path) -> None:
    file = tmp_path / "scrape-token"
    file.write_text("short\n")

    with pytest.raises(BadTokenFile, match="16 or more") as refused:
        scrape_token(file)
    assert "short" not in str(refused.value)
