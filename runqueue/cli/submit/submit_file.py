"""From an open input to jobs in the queue: read, checked and sent in one go, in bounded memory."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from runqueue.cli.shared.exit_codes import print_err
from runqueue.cli.shared.formatting import counted
from runqueue.cli.shared.input_lines import Source
from runqueue.cli.submit.line_checker import CheckedInput, read
from runqueue.errors import BatchExpired, BatchMismatch, BatchNotFound, RunQueueError
from runqueue.producer.batch_upload import BatchUpload
from runqueue.producer.queue import RunQueue
from runqueue.producer.upload_report import UploadReport
from runqueue.records.batch import BatchRules
from runqueue.records.job import Enqueued
from runqueue.request.metadata import stored_metadata


class UploadAbandoned(RunQueueError):  # noqa: N818 - what it says is in its name
    """The upload cannot end well; nothing of it was accepted."""


_WHY: Mapping[type[RunQueueError], str] = {
    BatchMismatch: "a concurrent upload of the same jobs has taken over some of them; submit the"
    " file again once that one is over",
    BatchNotFound: "the upload was discarded meanwhile; submit the file again",
}


@dataclass(frozen=True, slots=True)
class UploadOptions:
    """How a file is to be submitted.

    Args:
        name: the name of its batches.
        namespace: of lines that name none.
        rules: the rules of its batches.
        metadata: the metadata of its batches.
        skip_invalid: whether good lines are submitted although others are bad.
    """

    name: str
    namespace: str
    rules: BatchRules
    skip_invalid: bool
    metadata: Mapping[str, str] = field(default_factory=dict)


def submit_file(
    queue: RunQueue, source: Source, options: UploadOptions, known: dict[str, list[str]] | None
) -> tuple[CheckedInput, UploadReport | None]:
    """Submit every good line of an input; nothing runs before the whole input is accepted.

    A killed upload leaves a batch that was never accepted; submitting the same file again takes its
    jobs over.

    Args:
        queue: the queue.
        source: the input.
        options: how.
        known: gets the ids of jobs that were known before, by their batches ('' = none).

    Returns:
        What was read, and what became of it; None if lines are bad, so that nothing was submitted.

    Raises:
        Unreadable: the input cannot be read to its end; nothing was submitted.
        UploadAbandoned: another upload of the same jobs was under way; nothing was submitted.
    """
    upload = BatchUpload(
        queue.send,
        options.name,
        options.rules,
        stored_metadata(options.metadata),
        take=None if known is None else partial(_keep, known),
        is_patient=False,  # a Redis that cannot be reached from the start is reported at once
    )
    with read(source, options.namespace, set(queue.accounts())) as found:
        try:
            if not _send(found, upload, skip_invalid=options.skip_invalid):
                return found, None
            upload.seal()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | RunQueueError):
                _report_broken(found, is_sealing=upload.is_sealing)
            if not upload.is_sealing:
                upload.give_up()
            if isinstance(error, BatchMismatch | BatchNotFound | BatchExpired):
                raise UploadAbandoned(_WHY.get(type(error), str(error))) from None
            raise
    return found, upload.report


def _keep(known: dict[str, list[str]], batch: str | None, answers: list[Enqueued]) -> None:
    """Keep the ids of jobs that are not of the upload's own batch."""
    for answer in answers:
        if answer.status.is_stored and (batch is None or answer.batch != batch):
            known.setdefault(answer.batch or "", []).append(answer.job_id)


def _send(found: CheckedInput, upload: BatchUpload, *, skip_invalid: bool) -> bool:
    """Send all lines; on a bad line check the rest, and return False."""
    is_refused = False
    for packets in found.packets():
        if found.checker.bad_lines and not skip_invalid and not is_refused:
            is_refused = True
            upload.give_up()
        for packet in () if is_refused else packets:
            upload.put(packet)
    return not is_refused


def _report_broken(found: CheckedInput, *, is_sealing: bool) -> None:
    if not is_sealing:
        print_err("Nothing was submitted; give the same command again.")
        return
    # The queue may have accepted the batch although its answer never came.
    print_err("The file may not have been submitted; submit it again to make sure.")
    if found.checker.without_id:
        print_err(
            f"First check `runqueue stats`: {counted(found.checker.without_id, 'line')} without a"
            " custom_id would run twice if the file was accepted after all."
        )
