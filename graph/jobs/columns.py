"""Outcomes → Arrow columns: the answers in types of their own, and a sentence for each row that failed."""

import contextlib
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL.Image import Image

from deployments.payload import Tensor
from graph.encode import plain
from graph.pictures import png_bytes
from graph.sound import wav_bytes


def with_outcomes(table: pa.Table, outcomes: Sequence[Any], prediction: str, error: str) -> pa.Table:
    """``table`` with the answers, null where a row failed, and the errors, null where it did not.

    Columns of these names that were there before are replaced.
    """
    answers = [None if isinstance(outcome, Exception) else arrow_value(outcome) for outcome in outcomes]
    sentences = [sentence(outcome) if isinstance(outcome, Exception) else None for outcome in outcomes]
    table = table.drop_columns([name for name in (prediction, error) if name in table.column_names])
    return table.append_column(prediction, column(answers)).append_column(error, pa.array(sentences, pa.string()))


def sentence(error: Exception) -> str:
    """What a row says of its error."""
    return str(error) or type(error).__name__


def column(values: Sequence[Any]) -> pa.Array:
    """Values as a column: records become structs, numbers keep their precision; JSON text where types differ."""
    try:
        return pa.array(values, from_pandas=False)
    except (pa.ArrowException, OverflowError):
        return json_column(values)


def json_column(values: Sequence[Any]) -> pa.Array:
    """Values of `arrow_value`, or of an Arrow column, as JSON text."""
    return pa.array([None if value is None else json_text(value) for value in values], pa.string())


def json_text(value: Any) -> str:
    """One of them; what JSON has no form for, such as a time, as text."""
    return json.dumps(plain(_without_bytes(value)), ensure_ascii=False, default=str)


def parquet(table: pa.Table) -> Any:
    """Rows as a Parquet file; JSON text in the columns that it has no form for, such as one of empty objects."""
    try:
        return _parquet(table)
    except pa.ArrowNotImplementedError:
        for place, name in enumerate(table.column_names):
            try:
                _parquet(table.select([place]))
            except pa.ArrowNotImplementedError:
                table = table.set_column(place, name, json_column(values_of(table.column(place))))
        return _parquet(table)


def _parquet(table: pa.Table) -> Any:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getbuffer()


def _without_bytes(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_bytes(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_without_bytes(part) for part in value]
    return value.hex() if isinstance(value, bytes) else value


def arrow_value(value: Any) -> Any:
    """An answer in the types that Arrow has: images and sounds as files, as in ``datasets``; tuples as lists."""
    if isinstance(value, str):  # a generated text may end in half of a character
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, Image):
        return {"bytes": png_bytes(value), "path": None}
    if isinstance(value, Tensor):
        return arrow_value(value.array)
    if hasattr(value, "detach"):
        return arrow_value(value.detach().cpu().float().numpy())
    if isinstance(value, np.ndarray):
        return value if value.ndim <= 1 else [arrow_value(row) for row in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        if value.keys() == {"audio", "sampling_rate"}:
            file = wav_bytes(np.asarray(value["audio"]), int(value["sampling_rate"]))
            return {"bytes": file, "path": None}
        return {str(name): arrow_value(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [arrow_value(part) for part in value]
    return value


def jsonl(table: pa.Table) -> bytes:
    """Rows as JSON lines; files in them as base64."""
    lines = io.StringIO()
    columns = [values_of(column) for column in table.columns]
    for cells in zip(*columns, strict=True):
        row = dict(zip(table.column_names, cells, strict=True))
        lines.write(json.dumps(row, ensure_ascii=False, default=_json_default))
        lines.write("\n")
    return lines.getvalue().encode("utf-8", "replace")


def values_of(column: pa.ChunkedArray) -> list[Any]:
    """The values of a column; those that Python has no form for (text that is no UTF-8, far times) as text or null."""
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):
        return [_value(scalar) for scalar in column]


def _value(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return scalar.as_buffer().to_pybytes().decode("utf-8", "replace") if hasattr(scalar, "as_buffer") else None
    except (ValueError, OverflowError):
        with contextlib.suppress(pa.ArrowException):
            return scalar.cast(pa.string()).as_py()
        return None


def _json_default(value: Any) -> Any:
    import base64

    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
