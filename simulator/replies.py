"""Answers in HTTP: JSON, and refusals with the real server's texts."""

from datetime import UTC, datetime

import orjson
from aiohttp import web

Json = dict[str, object]

#: The one organization whose account this is.
ORGANIZATION = "o_100000001"

_JSON_HEADERS = {"Content-Type": "application/json"}


class RefusedError(Exception):
    """A request that is answered with an error.

    Args:
        status: HTTP status code.
        detail: the value of `detail`: a text, or a list of field errors (422).
    """

    def __init__(self, status: int, detail: object) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail

    def reply(self) -> web.Response:
        """The refusal as an HTTP answer."""
        return json_reply({"detail": self.detail}, status=self.status)


def json_reply(content: object, status: int = 200) -> web.Response:
    """Answer with JSON; types unknown to JSON become texts."""
    return web.Response(
        body=orjson.dumps(content, default=str), status=status, headers=_JSON_HEADERS
    )


def not_found() -> RefusedError:
    """The real server's answer to an unknown path."""
    return RefusedError(404, "Not Found")


def stamp(at: float) -> str:
    """The server's form of a time: UTC without an offset."""
    return datetime.fromtimestamp(at, UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
