"""Results as Parquet, in row groups of bounded size."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from typing import Any, BinaryIO

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from runqueue.records.job import COLUMNS

_INT64 = 2**63
#: Rows of one row group, and about so many bytes of them.
_GROUP, _GROUP_BYTES = 10_000, 32 * 1024 * 1024


def write_parquet(file: BinaryIO, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows of jobs as Parquet.

    Args:
        file: open for writing.
        rows: as `Job.as_row` gives them.

    Raises:
        OSError: the disk is full.
    """
    writer = pq.ParquetWriter(file, _SCHEMA, compression="zstd")
    group: list[dict[str, Any]] = []
    size = 0
    try:
        for row in rows:
            group.append(row)
            size += len(orjson.dumps(row))
            if len(group) >= _GROUP or size >= _GROUP_BYTES:
                writer.write_batch(_batch(group), row_group_size=len(group))
                group, size = [], 0
        if group:
            writer.write_batch(_batch(group), row_group_size=len(group))
    except BaseException:
        # Closing writes the footer, which fails again after a failed write.
        with suppress(OSError):
            writer.close()
        raise
    writer.close()


def _batch(rows: list[dict[str, Any]]) -> Any:
    kinds = ((name, *_KINDS[kind]) for name, kind in COLUMNS.items())
    columns = [pa.array([read(row.get(name)) for row in rows], of) for name, of, read in kinds]
    return pa.RecordBatch.from_arrays(columns, schema=_SCHEMA)


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()


def _json(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


def _whole(value: Any) -> int | None:
    is_whole = type(value) is int and -_INT64 <= value < _INT64
    return value if is_whole else None


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _moment(value: Any) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) else None


#: What each kind of column is stored as, and what reads its values.
_KINDS: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "text": (pa.string(), _text),
    "json": (pa.string(), _json),
    "whole": (pa.int64(), _whole),
    "flag": (pa.bool_(), _flag),
    "time": (pa.timestamp("us", tz="UTC"), _moment),
}
_SCHEMA = pa.schema([(name, _KINDS[kind][0]) for name, kind in COLUMNS.items()])
