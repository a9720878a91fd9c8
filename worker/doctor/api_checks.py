"""What the doctor checks outside: the Skyvern API with each account's key, and our own gateway."""

import time
from urllib.parse import urlsplit

from api_client import AsyncTransport, ListClass, RawClient, ReadClass, SkyvernError
from api_client.answers.parts import parse_json
from api_client.errors import RATE_LIMITED
from api_client.http.messages import HttpAnswer, Request
from api_client.http.proxies import Proxies
from api_client.versions import CERTIFIED_VERSIONS, is_certified
from config.settings import Account, account_prefix
from runqueue import ids
from webhooks import receiver_address
from worker.doctor.findings import Finding, ok, warning, wrong

#: Seconds that an answer may take.
_SECONDS = 10.0
#: A run that does not exist: a server without the list gets a GET of it.
_NO_RUN = "tsk_runqueue_doctor"
_NO_API = "this is no Skyvern API"
#: An attempt that no job ever has (a gateway takes nine digits), so its address is nobody's.
_NO_ATTEMPT = 999_999_999
#: What a gateway answers to what is not signed (gateway/webhooks/outcomes.py).
_NOT_SIGNED = "x-skyvern-signature"


async def check_api(name: str, account: Account, proxies: Proxies) -> Finding:
    """Make one read with an account's key, the cheapest that needs it.

    Args:
        name: the account.
        account: its key and base URL.
        proxies: what leads there.
    """
    start = time.perf_counter()
    async with AsyncTransport(proxies=proxies) as transport:
        client = RawClient(account.base_url, account.api_key.get_secret_value(), transport)
        page = await client.list_runs(page_size=1, timeout=_SECONDS)
        no_json = "" if client.gave_json else await client.check_address(_SECONDS)
        reading = None
        if page.outcome is ListClass.NOT_SUPPORTED:
            reading = await client.get_run(_NO_RUN, timeout=_SECONDS)
    proxy = proxies.find(account.base_url)
    way = "" if proxy is None else f" by the proxy {proxy}"
    check, where = f"API {name}", f"{account.base_url}{way}"
    took = f"{(time.perf_counter() - start) * 1000:.0f} ms"
    if no_json:
        said = f"{where} answers {no_json}, not with JSON"
        return wrong(check, said, f"correct {account_prefix(name)}BASE_URL: {_NO_API}")
    if page.outcome is ListClass.DONE:
        return ok(check, f"{where} takes the key ({took})")
    if reading is not None and reading.outcome in {ReadClass.NOT_FOUND, ReadClass.RUN}:
        return warning(
            check,
            f"{where} takes the key ({took}), and has no list of runs",
            "jobs whose answers are lost wait for people there: `runqueue unconfirmed`",
        )
    found = reading or page
    return _refusal(
        check, where, name, found.status_code, found.detail, is_proxied=proxy is not None
    )


async def check_version(name: str, account: Account, proxies: Proxies) -> Finding:
    """Ask a server which version of Skyvern it is, and say whether that is a certified one.

    Args:
        name: the account.
        account: its key and base URL.
        proxies: what leads there.
    """
    async with AsyncTransport(proxies=proxies) as transport:
        client = RawClient(account.base_url, account.api_key.get_secret_value(), transport)
        version = await client.server_version(timeout=_SECONDS)
    check, certified = f"Skyvern version {name}", ", ".join(CERTIFIED_VERSIONS)
    if is_certified(version):
        return ok(check, f"{version}, a certified one")
    if version == "":
        return ok(check, f"the server tells none (certified: {certified})")
    do = "see docs/guarantees.md: what is certified, and how to certify your own server"
    if version is None:
        return warning(check, f"the server did not tell it (certified: {certified})", do)
    return warning(check, f"{version[:40]}, not a certified one ({certified})", do)


def _refusal(
    check: str, where: str, name: str, status: int | None, detail: str, *, is_proxied: bool
) -> Finding:
    """Say what is wrong, in our own words: the server's may quote anything."""
    prefix = account_prefix(name)
    if status is None:
        do = f"see whether this machine reaches it, and whether {prefix}BASE_URL is right"
        if is_proxied:
            do += "; NO_PROXY names hosts that are reached without the proxy (docs/operations.md)"
        return wrong(check, f"{where}: {detail}", do)
    said = f"{where} answers {status}"
    if status in {401, 403}:
        return wrong(check, f"{said}: the key is refused", f"correct {prefix}API_KEY")
    if status == 402:
        return wrong(check, f"{said}: the account has no balance", "add credit at Skyvern")
    if status in RATE_LIMITED or status >= 500:
        return warning(check, said, "try again in a minute")
    return wrong(check, said, f"correct {prefix}BASE_URL: {_NO_API}")


async def check_public_url(
    public_url: str, name: str, account: Account, proxies: Proxies
) -> Finding:
    """Ask for a webhook's address that nobody has, to see who answers there.

    Only who has the account's key takes the address for one of ours, and asks for a signature.

    Args:
        public_url: RUNQUEUE_PUBLIC_URL.
        name, account: an account that the gateway serves, too.
        proxies: what leads there.
    """
    check, url = "public URL", public_url
    key = account.api_key.get_secret_value()
    target = receiver_address.address(public_url, name, ids.new_id(name), _NO_ATTEMPT, key)
    request = Request("POST", target, {"content-type": "application/json"}, b"{}")
    try:
        async with AsyncTransport(timeout=_SECONDS, proxies=proxies) as transport:
            answer = await transport.exchange(request)
    except SkyvernError as error:
        said = str(error).replace(request.name, url)  # whose path holds a token
        do = "see whether the name, the certificate, the proxy and the gateway are there"
        return wrong(check, said, do)
    if answer.status == 401 and _NOT_SIGNED in _detail(answer):
        return ok(check, f"{url} is a gateway of ours, with the key of {name}")
    if answer.status == 404 and "problem+json" in answer.headers.get("content-type", ""):
        same = f"{account_prefix(name)}API_KEY and RUNQUEUE_PUBLIC_URL"
        do = f"give gateway and workers the same {same}"
        return wrong(check, f"{url} is a gateway that does not know the account's key", do)
    if answer.is_redirect:
        to = urlsplit(answer.headers.get("location", "")).hostname
        return wrong(check, f"{url} sends us elsewhere ({to})", "name the address it leads to")
    page = "docs/results_and_webhooks.md"
    do = f"have the proxy pass {receiver_address.PATH}/ on to the gateway ({page})"
    return wrong(check, f"{url} answers {answer.status}, and is no gateway of ours", do)


def _detail(answer: HttpAnswer) -> str:
    said = parse_json(answer.body)
    return str(said.get("detail", "")) if isinstance(said, dict) else ""
