"""How request and result of a job that is over lie in Redis, once the sweep has packed them.

A stored body is an envelope line, a newline and the request (`codec.py`). The envelope stays as it
is, since scripts read it. Behind it a packed body has a byte below nine, which no JSON begins
with; when the job ended, in microseconds; the bytes of the request; then
request and result as one deflated string, because an answer repeats its request. A result longer
than `APART` has a packed string of its own: a reader of the request does not have to take its
last result along.

A packed record can be read only with the very phrases it was packed with: others are another format
(`FORMAT` in `keys.py`). Readers go through `request_of` and `result_of`, which return what is plain
as it is.
"""

import struct
import zlib
from typing import Final

#: What requests and answers have in common: field names of the API's models in the order in which
#: the server writes them, values that they often have, and words that prompts begin with. The
#: likeliest are last, where deflate needs the fewest bits to point at them.
PHRASES = (
    b" Do not submit the form. Stop before Log in with the username and password. If "
    b"there is a cookie banner, accept or close it. If you are asked to Your goal is "
    b"complete when you see COMPLETE when TERMINATE if the page Go to the Navigate to "
    b"Click on the Search for Fill in the form with the following information: Extract "
    b"the first Return the name, price and as JSON. Download the invoice for each of the "
    b'number of and the date of the website. "type":"object",'
    b'"properties":{"description":"","type":"string"},"type":"number"},"type":"boolean"},'
    b'"type":"integer"},"type":"array","items":{"type":["string","null"]},'
    b'"required":["enum":[""id":"","address":"","city":"","country":"US","email":"",'
    b'"phone":"+1","company":"","description":"","category":"","quantity":1,"total":"",'
    b'"amount":"","date":"2026-","status":"","title":"","url":"https://www.","name":"",'
    b'"price":0.00,"currency":"USD",true},{false},{null},{{"workflow_id":"wpid_",'
    b'"agent_id":"","parameters":{"proxy_location":"RESIDENTIAL","run_with":"agent",'
    b'"ai_fallback":true,"max_elapsed_time_minutes":,'
    b'"run_metadata":{"reuse_browser_session":false,"browser_profile_id":"bp_",'
    b'"start_fresh_browser":false,"engine":"skyvern-1.0","engine":"skyvern-3.0",'
    b'"engine":"anthropic-cua","engine":"openai-cua","status":"terminated",'
    b'"status":"timed_out","status":"canceled","status":"failed","failure_reason":"The ",'
    b'"errors":[{"error_code":"","reasoning":"","confidence_float":1.0}],'
    b'"downloaded_files":[{"url":"https://","checksum":"","filename":".pdf","file_size":,'
    b'"modified_at":"2026-","artifact_id":"a_"}],"output":{"{"prompt":"Go to ",'
    b'"url":"https://www.","data_extraction_schema":{"type":"object",'
    b'"properties":{"totp_identifier":"","totp_url":"https://",'
    b'"error_code_mapping":{""extra_http_headers":{"","url":"https://",'
    b'"engine":"skyvern-2.0","max_steps":25}{"run_id":"wr_","run_type":"workflow_run",'
    b'"run_id":"tsk_","run_type":"task_v1",{"run_id":"tsk_v2_","run_type":"task_v2",'
    b'"status":"completed","output":{"extracted_information":[{"":"","":null},{"}]},'
    b'"downloaded_files":[],"recording_url":"https://skyvern-artifacts.s3.amazonaws.com/v1'
    b'/production/o_/tsk_v2_/recording.webm?AWSAccessKeyId=&Signature=%3D&Expires=17",'
    b'"screenshot_urls":["https://skyvern-artifacts.s3.amazonaws.com/v1/production/o_/scre'
    b'enshot_final.png?","failure_reason":null,"errors":[],'
    b'"created_at":"2026-01-01T00:00:00.000000",'
    b'"modified_at":"2026-01-01T00:00:00.000000","queued_at":"2026-01-01T00:00:00.000000",'
    b'"started_at":"2026-01-01T00:00:00.000000",'
    b'"finished_at":"2026-01-01T00:00:00.000000",'
    b'"app_url":"https://app.skyvern.com/runs/tsk_v2_","browser_session_id":null,'
    b'"browser_profile_id":null,"max_screenshot_scrolls":null,"script_run":null,'
    b'"step_count":1,"attempt":1,"retry_pending":false,"next_attempt_at":null,'
    b'"run_request":{"prompt":"","url":"https://","engine":"skyvern-2.0","title":" '
    b'[rq:.1]","proxy_location":null,"data_extraction_schema":null,'
    b'"error_code_mapping":null,"max_steps":null,"webhook_url":"https://?rq_job=.1.",'
    b'"totp_identifier":null,"totp_url":null,"browser_session_id":null,"model":null,'
    b'"extra_http_headers":null,"publish_workflow":false,'
    b'"include_action_history_in_verification":false,"max_screenshot_scrolls":null,'
    b'"browser_address":null}}'
)
#: Bytes of a result from which on it stays by itself: deflate refers no further back.
APART: Final = 32 * 1024
#: What marks it, end of the job in microseconds, bytes of the request.
_HEAD = struct.Struct(">BQI")
_PACKED = 1
_FIRST_OF_JSON = 9  # a tab, which white space before a value begins with
# Copied for each record: a new one would learn the phrases again.
_EMPTY = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS, 8, zlib.Z_DEFAULT_STRATEGY, PHRASES)


class _BrokenError(ValueError):
    """What was stored is not what was packed."""


def pack(request: bytes, result: bytes, ended_us: int) -> bytes:
    """Return a request and a result as one string.

    Args:
        request: the request's body as it is sent; b"" = the result is packed by itself.
        result: the API's answer; b"" = there is none, or it is packed by itself.
        ended_us: when the job ended. It distinguishes a result from that of an end before.
    """
    deflate = _EMPTY.copy()
    packed = deflate.compress(request + result) + deflate.flush()
    return _HEAD.pack(_PACKED, ended_us, len(request)) + packed


def is_packed(stored: bytes) -> bool:
    """Say whether a string is packed, and not plain."""
    return bool(stored) and stored[0] < _FIRST_OF_JSON


def request_of(stored: bytes) -> bytes:
    """Return the request in what is behind a body's envelope.

    Raises:
        ValueError: it cannot be read.
    """
    if not is_packed(stored):
        return stored
    _, size = _head(stored)
    request = _inflate(stored, size)[0] if size else b""
    if len(request) != size:
        raise _BrokenError("a packed request is cut off")
    return request


def result_of(stored: bytes, ended_us: int) -> bytes:
    """Return the result of the end at `ended_us`; b"" = there is none.

    A job that is done again keeps its packed body, and with it the result of its end before. A
    broken one is none: it hides no other job of a list.
    """
    if not is_packed(stored):
        return stored
    try:
        ended, size = _head(stored)
        both, is_whole = _inflate(stored)
    except _BrokenError:
        return b""
    return both[size:] if is_whole and ended == ended_us else b""


def _head(stored: bytes) -> tuple[int, int]:
    """Return when the job ended, and the bytes of its request."""
    try:
        _, ended_us, size = _HEAD.unpack_from(stored)
    except struct.error:
        raise _BrokenError("a packed record is cut off") from None
    return ended_us, size


def _inflate(stored: bytes, most: int = 0) -> tuple[bytes, bool]:
    """Return the first `most` bytes (0 = all) and whether the string came to its end."""
    inflate = zlib.decompressobj(-zlib.MAX_WBITS, PHRASES)
    try:
        return inflate.decompress(stored[_HEAD.size :], most), inflate.eof
    except zlib.error:
        raise _BrokenError("a packed record is broken") from None
