"""A browser without JavaScript, as far as tests of the page need one: cookies, forms, redirects."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from html import unescape
from typing import Any

import aiohttp
from yarl import URL

from tests.gateway.gating import Door, gating, token

#: Who may look, and who may act.
TOKENS = (
    token("reader", "read-secret", "read"),
    token("ops", "operate-secret", "read", "operate"),
    token("shop", "enqueue-secret", "enqueue"),
)
#: Hidden fields by which one of several forms of an action is told.
_CHOSEN = ("job", "batch", "group")
_FORM = re.compile(r'<form[^>]*action="([^"]*)" method="post".*?</form>', re.DOTALL)
_INPUT = re.compile(r"<input([^>]*)>")
_ATTRIBUTE = re.compile(r'([a-z_-]+)="([^"]*)"')


@dataclass
class Shown:
    """A page that was answered."""

    status: int
    headers: Mapping[str, str]
    text: str
    url: URL

    def forms(self, action: str = "") -> list[dict[str, str]]:
        """The fields of the forms that are sent to an address ('' = of all)."""
        found = [form for form in _FORM.finditer(self.text) if action in {"", form[1]}]
        return [_fields(form[0]) for form in found]

    @property
    def words(self) -> str:
        """What is read of it, without tags."""
        return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", self.text)))


def _fields(form: str) -> dict[str, str]:
    made = {}
    for found in _INPUT.finditer(form):
        attributes = dict(_ATTRIBUTE.findall(found[1]))
        if "name" in attributes:
            made[attributes["name"]] = unescape(attributes.get("value", ""))
    return made


@dataclass
class Browser:
    """One browser at a gateway."""

    door: Door
    session: aiohttp.ClientSession

    async def open(self, path: str, headers: Mapping[str, str] | None = None) -> Shown:
        """Open a page, and go where it leads."""
        async with self.session.get(self.door.url + path, headers=headers) as answer:
            return await _shown(answer)

    async def send(
        self,
        action: str,
        fields: Mapping[str, Any],
        headers: Mapping[str, str] | None = None,
        *,
        follow: bool = True,
    ) -> Shown:
        """Send a form, as one on a page of the gateway is."""
        origin = {"origin": self.door.url}
        async with self.session.post(
            self.door.url + action,
            data=dict(fields),
            headers=origin if headers is None else headers,
            allow_redirects=follow,
        ) as answer:
            return await _shown(answer)

    @asynccontextmanager
    async def elsewhere(self) -> AsyncIterator[Browser]:
        """Open another browser, with a copy of this one's cookies."""
        jar = aiohttp.CookieJar(unsafe=True)
        jar.update_cookies(
            {one.key: one.value for one in self.session.cookie_jar}, URL(self.door.url)
        )
        async with aiohttp.ClientSession(cookie_jar=jar) as session:
            yield Browser(self.door, session)

    async def log_in(self, secret: str) -> Shown:
        """Log in with a token."""
        return await self.send("/login", {"token": secret})

    async def do(self, page: str, what: str, **fields: Any) -> Shown:
        """Send a form that stands on a page, with some of its fields filled in.

        Args:
            page: where it stands.
            what: what it does.
            fields: those that are filled in; hidden ones choose among several forms.
        """
        forms = (await self.open(page)).forms(f"/do/{what}")
        chosen = {name: fields[name] for name in _CHOSEN if name in fields}
        fitting = [f for f in forms if all(f[k] in {v, ""} for k, v in chosen.items())]
        assert fitting, (page, what, forms)
        return await self.send(f"/do/{what}", {**fitting[0], **fields})


async def _shown(answer: aiohttp.ClientResponse) -> Shown:
    said = {name.lower(): value for name, value in answer.headers.items()}
    return Shown(answer.status, said, await answer.text(), answer.url)


@asynccontextmanager
async def browsing(url: str, secret: str = "", **settings: Any) -> AsyncIterator[Browser]:
    """Serve a gateway, and open a browser at it.

    Args:
        url: the queue's Redis.
        secret: the token to log in with; '' = the one that the gateway makes, if none are set up.
        settings: those of the gateway.
    """
    if secret:
        settings.setdefault("api_tokens", TOKENS)
    # Cookies of an address, too, are kept.
    jar = aiohttp.CookieJar(unsafe=True)
    async with gating(url, **settings) as door, aiohttp.ClientSession(cookie_jar=jar) as session:
        browser = Browser(door, session)
        if secret := secret or door.secret:
            assert (await browser.log_in(secret)).status == 200
        yield browser
