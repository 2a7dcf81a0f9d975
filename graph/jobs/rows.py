"""A unit of the input → its rows, in windows: Arrow tables, of which no more is in memory than is asked for."""

import csv
import io
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from graph.jobs.places import place, read
from graph.jobs.units import COMPRESSED, Unit

_PATH = "path"
_NOTHING = "nothing"  # the column of rows of which none has any
_LONGEST_LINE = 2**28


@dataclass(frozen=True)
class Window:
    """Consecutive rows of a unit.

    Args:
        number: of the window in its unit.
        table: the columns that the output keeps.
        broken: row → what is wrong with it, for rows that could not be read.
        files: of rows that are files, what reads each.
    """

    number: int
    table: pa.Table
    broken: dict[int, str] = field(default_factory=dict)
    files: list[Callable[[], bytes]] | None = None


def windows(unit: Unit, rows: int, shard: tuple[int, int] = (0, 1)) -> Iterator[Window]:
    """The windows of ``unit``.

    Args:
        unit: what is read.
        rows: of the input in each window (>=1); the last has fewer.
        shard: ``(index, count)``: of every ``count`` rows, only that at ``index``.
    """
    index, count = shard
    left = unit.limit
    for number, window in enumerate(_READERS[unit.format](unit, rows)):
        table = window.table if left is None else window.table.slice(0, left)
        kept = range((index - number * rows) % count, table.num_rows, count)
        yield Window(
            number,
            table if count == 1 else table.take(pa.array(kept, pa.int64())),
            {place_: window.broken[row] for place_, row in enumerate(kept) if row in window.broken},
            None if window.files is None else [window.files[row] for row in kept],
        )
        left = None if left is None else left - table.num_rows
        if left == 0:
            return


def _tables(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[Window]:
    """Batches of any length → windows."""
    waiting: list[pa.RecordBatch] = []
    number = 0
    for batch in batches:
        waiting.append(batch)
        while sum(part.num_rows for part in waiting) >= rows:
            whole = pa.Table.from_batches(waiting)
            yield Window(number, whole.slice(0, rows))
            waiting = whole.slice(rows).to_batches()
            number += 1
    if sum(part.num_rows for part in waiting):
        yield Window(number, pa.Table.from_batches(waiting))


def _parquet(unit: Unit, rows: int) -> Iterator[Window]:
    where = place(unit.paths[0])
    with where.fs.open_input_file(where.path) as stream:
        file = pq.ParquetFile(stream)
        yield from _tables(_stretch(file, unit.start, unit.stop, rows), rows)


def _stretch(file: pq.ParquetFile, start: int, stop: int | None, rows: int) -> Iterator[pa.RecordBatch]:
    """Rows ``start`` to ``stop``, read from the row groups that have them."""
    first = 0
    for group in range(file.metadata.num_row_groups):
        last = first + file.metadata.row_group(group).num_rows
        if last > start and (stop is None or first < stop):
            position = first
            for batch in file.iter_batches(batch_size=rows, row_groups=[group]):
                skip = max(0, start - position)
                most = batch.num_rows if stop is None else min(batch.num_rows, stop - position)
                if skip < most:
                    yield batch.slice(skip, most - skip)
                position += batch.num_rows
        first = last


def _arrow(unit: Unit, rows: int) -> Iterator[Window]:
    where = place(unit.paths[0])
    with where.fs.open_input_stream(where.path) as stream, pa.ipc.open_stream(stream) as reader:
        yield from _tables(reader, rows)


def _files(unit: Unit, rows: int) -> Iterator[Window]:
    for number, first in enumerate(range(0, len(unit.paths), rows)):
        paths = unit.paths[first : first + rows]
        table = pa.table({_PATH: pa.array(paths, pa.string())})
        yield Window(number, table, files=[_Reading(path) for path in paths])


@dataclass(frozen=True)
class _Reading:
    path: str

    def __call__(self) -> bytes:
        return read(place(self.path))


def _text(unit: Unit, rows: int) -> Iterator[Window]:
    lines = (line.decode("utf-8", "replace").rstrip("\r\n") for line in _lines(unit))
    some = (line for line in lines if line)
    for number, group in enumerate(_grouped(some, rows)):
        yield Window(number, pa.table({"text": pa.array(group, pa.string())}))


def _jsonl(unit: Unit, rows: int) -> Iterator[Window]:
    some = (line for line in _lines(unit) if line.strip())
    for number, group in enumerate(_grouped(some, rows)):
        records, broken = [], {}
        for row, line in enumerate(group):
            try:
                record = json.loads(line)
                if not isinstance(record, dict):
                    raise ValueError("a row must be an object")
                if b"\\u" in line:
                    json.dumps(record, ensure_ascii=False).encode()  # half of a surrogate pair is no text
            except ValueError as error:
                record, broken[row] = {}, f"The line is not a JSON object: {error}."
            records.append(record)
        yield Window(number, table_of(records), broken)


def _csv(unit: Unit, rows: int) -> Iterator[Window]:
    where = place(unit.paths[0])
    stream = io.TextIOWrapper(_opened(unit), "utf-8-sig", "replace", newline="")
    reader = csv.reader(stream)
    if unit.start:
        with where.fs.open_input_stream(where.path) as beginning:
            head = next(csv.reader(io.TextIOWrapper(beginning, "utf-8-sig", "replace", newline="")))
    else:
        head = next(reader, [])
    for number, group in enumerate(_grouped((row for row in reader if row), rows)):
        broken = {
            row: f"The row has {len(cells)} cells, and the head has {len(head)}."
            for row, cells in enumerate(group)
            if len(cells) != len(head)
        }
        records = [dict(itertools.zip_longest(head, cells[: len(head)])) for cells in group]
        schema = pa.schema([(name, pa.string()) for name in head])
        yield Window(number, pa.Table.from_pylist(records, schema), broken)


def _opened(unit: Unit) -> Any:
    """The bytes of a unit of lines, as a stream."""
    where = place(unit.paths[0])
    for ending, codec in COMPRESSED.items():
        if where.path.endswith(ending):
            return where.fs.open_input_stream(where.path, compression=codec)
    file = where.fs.open_input_file(where.path)
    return io.BufferedReader(_Stretch(file, unit.start, unit.stop), 2**20)


class _Stretch(io.RawIOBase):
    """Bytes ``start`` to ``stop`` of an open file."""

    def __init__(self, file: Any, start: int, stop: int | None) -> None:
        self._file = file
        self._left = (file.size() if stop is None else stop) - start
        file.seek(start)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._file.read(min(len(buffer), self._left))
        buffer[: len(content)] = content
        self._left -= len(content)
        return len(content)

    def close(self) -> None:
        self._file.close()
        super().close()


def _lines(unit: Unit) -> Iterator[bytes]:
    with _opened(unit) as stream:
        whole = stream if hasattr(stream, "peek") else io.BufferedReader(stream, 2**20)
        while line := whole.readline(_LONGEST_LINE):
            yield line


def _grouped(rows: Iterable[Any], count: int) -> Iterator[list[Any]]:
    left = iter(rows)
    while group := list(itertools.islice(left, count)):
        yield group


def table_of(records: list[dict[str, Any]]) -> pa.Table:
    """Records → a table with a column for each name; values of several types in one column become text."""
    names = dict.fromkeys(name for record in records for name in record)
    columns = {name: [record.get(name) for record in records] for name in names}
    if not columns:  # a table needs one to have rows
        return pa.table({_NOTHING: pa.nulls(len(records), pa.string())})
    return pa.table({name: _column(values) for name, values in columns.items()})


def _column(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        texts = [value if isinstance(value, str | None) else json.dumps(value, ensure_ascii=False) for value in values]
        return pa.array(texts, pa.string())


def cell(value: Any) -> Any:
    """A cell as a pipeline takes it: what is null inside of an object was not there."""
    if isinstance(value, dict):
        if value.keys() == {"bytes", "path"}:  # an image or a sound as `datasets` keeps it
            return value
        return {name: cell(part) for name, part in value.items() if part is not None}
    if isinstance(value, list):
        return [cell(part) for part in value]
    return value


_READERS: dict[str, Callable[[Unit, int], Iterator[Window]]] = {
    "jsonl": _jsonl,
    "csv": _csv,
    "parquet": _parquet,
    "text": _text,
    "arrow": _arrow,
    "image": _files,
    "audio": _files,
}
