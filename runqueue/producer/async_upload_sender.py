"""Sending the packets of an upload: the server works on one while the next is checked."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

from runqueue.errors import QueueUnavailable
from runqueue.producer.batch_upload import BatchUpload
from runqueue.producer.chunks import Packet
from runqueue.producer.concurrency import AsyncOrderedSender
from runqueue.producer.flows import drive_async
from runqueue.records.job import Enqueued
from runqueue.store.scripts import ScriptCall

#: Seconds that Redis may be away during an upload, as in a failover; and between two tries.
PATIENCE, PAUSE = 30.0, 0.5


class AsyncUploadSender:
    """Sends the packets of an upload, in their order.

    Args:
        send: sends one call.
        upload: the upload; its report counts the answers.
        take: gets the account and the answers of each packet.
        is_patient: whether an outage is waited for before anything is stored, too.
    """

    def __init__(
        self,
        send: Callable[[ScriptCall[Any]], Awaitable[Any]],
        upload: BatchUpload,
        take: Callable[[str, list[Enqueued]], None] | None = None,
        *,
        is_patient: bool = True,
    ) -> None:
        self.upload = upload
        self._send, self._take, self._is_patient = send, take, is_patient
        self._packets = AsyncOrderedSender(self._deliver)
        self.put, self.finish = self._packets.put, self._packets.finish

    async def seal(self) -> None:
        """Accept all of it; errors as of `BatchUpload.seal`."""
        await self.finish()
        await drive_async(self.upload.seal(), self._send_patiently)

    async def give_up(self) -> None:
        """Discard what was sent."""
        await self._packets.end()
        await drive_async(self.upload.discard(), self._send)

    async def _deliver(self, packet: Packet) -> None:
        answers = await drive_async(self.upload.deliver(packet), self._send_patiently)
        self.upload.report.note(packet, answers)
        if self._take:
            self._take(packet.account, answers)

    async def _send_patiently(self, call: ScriptCall[Any]) -> Any:
        """Send a call, and again while Redis is away: an outage must not cost a long upload."""
        is_patient = self._is_patient or bool(self.upload.report.batches)
        give_up = time.monotonic() + PATIENCE * is_patient
        while True:
            try:
                return await self._send(call)
            except QueueUnavailable:
                if time.monotonic() > give_up:
                    raise
            await self._packets.rest(PAUSE)
