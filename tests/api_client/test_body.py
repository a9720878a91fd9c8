"""The body of an answer: as large as it may be, and decompressed, or lost."""

import gzip
import random
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from api_client import AnswerLostError, AsyncTransport, BodyTooLargeError
from api_client.http.messages import HttpAnswer, Request
from tests.api_client.misbehaving import sends_too_much
from tests.api_client.rawserver import answering, serving


async def get(url: str, **options: Any) -> HttpAnswer:
    async with AsyncTransport(**options) as transport:
        return await transport.exchange(Request("GET", url, {}))


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


async def test_a_body_over_the_limit_is_not_read_to_its_end() -> None:
    async with serving(sends_too_much) as server:
        with pytest.raises(BodyTooLargeError, match="status 200 and a body of more than 100,000"):
            await get(server.url, max_body_bytes=100_000)


async def test_a_body_of_just_the_limit_is_read() -> None:
    async with serving(answering(200, b"x" * 100)) as server:
        assert (await get(server.url, max_body_bytes=100)).body == b"x" * 100
        with pytest.raises(BodyTooLargeError):
            await get(server.url, max_body_bytes=99)


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
async def test_a_compressed_answer_is_decompressed_once_and_counted_after(
    encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    packed = pack(b"x" * 10_000)
    async with serving(answering(200, packed, content_encoding=encoding)) as server:
        assert (await get(server.url, max_body_bytes=10_000)).body == b"x" * 10_000
        with pytest.raises(BodyTooLargeError):
            await get(server.url, max_body_bytes=9_999)


async def test_an_answer_that_is_not_as_compressed_as_it_says_is_lost() -> None:
    async with serving(answering(200, b"plain", content_encoding="gzip")) as server:
        with pytest.raises(AnswerLostError, match="not compressed as it says"):
            await get(server.url)


@pytest.mark.parametrize(
    ("encoding", "packed", "plain"),
    [
        ("deflate", raw_deflate(b"plain"), b"plain"),
        ("gzip", gzip.compress(b"two ") + gzip.compress(b"members"), b"two members"),
        ("gzip", b"", b""),
        ("Identity, GZIP", gzip.compress(b"plain"), b"plain"),
    ],
    ids=["deflate without a header", "gzip in members", "nothing", "names in any case"],
)
async def test_what_servers_call_compressed_is_read(
    encoding: str, packed: bytes, plain: bytes
) -> None:
    async with serving(answering(200, packed, content_encoding=encoding)) as server:
        assert (await get(server.url)).body == plain


async def test_a_compressed_body_of_many_chunks_arrives_whole() -> None:
    plain = random.Random(1).randbytes(500_000)
    async with serving(answering(200, gzip.compress(plain), content_encoding="gzip")) as server:
        assert (await get(server.url)).body == plain


async def test_a_compressed_body_that_ends_too_early_is_lost() -> None:
    cut = gzip.compress(b"plain")[:-4]
    async with serving(answering(200, cut, content_encoding="gzip")) as server:
        with pytest.raises(AnswerLostError, match="ends too early"):
            await get(server.url)


@pytest.mark.parametrize("encoding", ["gzip, gzip", "br", "zstd", "gzip, br"])
async def test_an_encoding_nobody_asked_for_is_lost(encoding: str) -> None:
    async with serving(answering(200, b"packed", content_encoding=encoding)) as server:
        with pytest.raises(AnswerLostError, match="status 200 and a body in an encoding"):
            await get(server.url)


async def test_a_small_answer_that_unpacks_to_a_large_one_takes_no_more_than_the_limit() -> None:
    packer = zlib.compressobj(wbits=31)
    packed = b"".join(packer.compress(bytes(1_000_000)) for _ in range(200)) + packer.flush()
    async with serving(answering(200, packed, content_encoding="gzip")) as server:
        tracemalloc.start()
        try:
            with pytest.raises(BodyTooLargeError, match="more than 1,000,000 bytes"):
                await get(server.url, max_body_bytes=1_000_000)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert most < 10_000_000
