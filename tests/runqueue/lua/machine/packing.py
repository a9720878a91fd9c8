"""Jobs that are over are packed, whatever becomes of them meanwhile."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from runqueue.store import pack_calls
from tests.runqueue.lua.clockwork import ACCOUNT
from tests.runqueue.lua.machine.model import OVER, has, often, picks
from tests.runqueue.lua.machine.people import People

#: Of bodies and results in one step: more than there are.
MANY_BYTES = 1 << 20


class Packing(People):
    """The sweep's last step."""

    @precondition(has(*OVER))
    @rule(
        limit=st.sampled_from([1, 3, 100, 100]),
        meanwhile=st.sampled_from(["", "", "replay", "pack", "die"]),
        ns=st.lists(picks, min_size=1, max_size=5),
        again=often,
    )
    def pack(self, *, limit: int, meanwhile: str, ns: list[int], again: bool) -> None:
        """What ended is read, compressed and stored; between, people act, or the process dies."""
        if not any(self.alive(name) for name in self.names.values()):
            self.heartbeat("a")
        self.clock.wait(0.001)  # what ends at the moment of its packing would be another end
        read = self.clock.run(pack_calls.unpacked(ACCOUNT, 1, limit, MANY_BYTES))
        packed = [found for job in read.jobs if (found := pack_calls.packed(job))]
        call = pack_calls.pack(ACCOUNT, read, packed)
        if meanwhile == "replay":
            self.replay(ns, True, False, False)
        elif meanwhile == "pack":
            self.clock.run(call)
        if meanwhile != "die":
            stored = self.send(call, again)
            assert stored <= len(packed)
            assert stored == len(packed) or meanwhile
