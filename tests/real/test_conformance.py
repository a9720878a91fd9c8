"""The simulator held to a real Skyvern: the same requests to both, every answer compared."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from simulator.model.releases import DEFAULT_VERSION, RELEASES
from tests.real.conformance_accepted import ACCEPTED
from tests.real.conformance_compare import Difference, differences
from tests.real.conformance_scenarios import SCENARIOS
from tests.real.conformance_servers import Server, simulated
from tests.real.conformance_talk import Talk
from tests.real.listener import listener
from tests.real.target import Target

#: What is compared with releases that are imitated only as far as finding runs goes.
OF_OLDER_RELEASES = ("unknown", "tags", "lists", "lives", "live tasks", "searches")

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def servers(target: Target) -> Iterator[tuple[Server, Server]]:
    if target.version not in RELEASES:
        pytest.skip(f"the simulator does not imitate {target.version}")
    # Without a browser every task of the real server fails, and so does every one on a closed port.
    options = ["--version", target.version, "--failed", "1", "--duration", "0.4"]
    with simulated(*options, "--made-workflows") as double:
        yield Server("real", target.base_url, target.api_key), double


def behaviours(scenario: str, server: Server) -> dict[str, object]:
    with listener() as receiver:
        talk = Talk(server, receiver)
        try:
            SCENARIOS[scenario](talk)
        finally:
            talk.close()
    return talk.behaviours


def test_the_simulator_behaves_as_the_real_server_does(
    target: Target, servers: tuple[Server, Server]
) -> None:
    compared, found = 0, list[Difference]()
    for scenario in SCENARIOS if target.version == DEFAULT_VERSION else OF_OLDER_RELEASES:
        with ThreadPoolExecutor(2) as pool:
            real, double = pool.map(partial(behaviours, scenario), servers)
        compared += len(real)
        found += differences(real, double)
    accepted = ACCEPTED[target.version]
    open_ = [one for one in found if not any(rule.covers(one) for rule in accepted)]
    unused = [rule.pattern for rule in accepted if not any(rule.covers(one) for one in found)]
    print(
        f"conformance with {target.version}: {compared} behaviours compared, "
        f"{len(found)} differences, {len(found) - len(open_)} accepted"
    )
    assert not open_, "\n".join(["not as the real server:", *map(str, open_)])
    assert not unused, f"accepted, but no difference any more: {unused}"
