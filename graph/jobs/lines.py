"""Units of lines (text, JSON lines, CSV) → tables of their rows, each with what is wrong with those that are broken."""

import csv
import io
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

import pyarrow as pa

from deployments.errors import ConfigError
from graph.jobs.places import place
from graph.jobs.settings import WINDOW_BYTES
from graph.jobs.units import COMPRESSED, Unit

Read: TypeAlias = tuple[pa.Table, dict[int, str]]
_NOTHING = "nothing"  # the column of rows of which none has any
_LONGEST_LINE = 2**28
_DEEPEST = 32  # levels of a row: what Parquet files can be read with, wherever they are written

csv.field_size_limit(_LONGEST_LINE)  # of the whole process; 131,072 characters are less than a document has


def _text(unit: Unit, rows: int) -> Iterator[Read]:
    lines = (line.decode("utf-8", "replace").rstrip("\r\n") for line in _lines(unit))
    some = (line for line in lines if line)
    for group in _grouped(some, rows):
        yield pa.table({"text": pa.array(group, pa.string())}), {}


def _jsonl(unit: Unit, rows: int) -> Iterator[Read]:
    some = (line for line in _lines(unit) if line.strip())
    for group in _grouped(some, rows):
        records, broken = [], {}
        for row, line in enumerate(group):
            try:
                record = _record(line)
            except ValueError as error:
                record, broken[row] = {}, f"The line is not a JSON object: {error}."
            except RecursionError:
                record, broken[row] = {}, f"The line is nested deeper than {_DEEPEST} levels."
            records.append(record)
        yield table_of(records), broken


def _record(line: bytes) -> dict[str, Any]:
    record = json.loads(line)
    if not isinstance(record, dict):
        raise ValueError("a row must be an object")
    if b"\\u" in line:
        json.dumps(record, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    if line.count(b"{") + line.count(b"[") > _DEEPEST:
        _check_depth(record, _DEEPEST)
    return record


def _check_depth(value: Any, left: int) -> None:
    if isinstance(value, dict | list):
        if not left:
            raise RecursionError
        for part in value.values() if isinstance(value, dict) else value:
            _check_depth(part, left - 1)


def _csv(unit: Unit, rows: int) -> Iterator[Read]:
    found = _records(_opened(unit))
    if unit.start:
        where = place(unit.paths[0])
        with where.fs.open_input_stream(where.path) as beginning:
            head = next(_records(beginning), [])
    else:
        head = next(found, [])
    if isinstance(head, csv.Error):
        raise ConfigError(f"The head of {unit.paths[0]} cannot be read: {head}.")
    schema = pa.schema([(name, pa.string()) for name in head])
    for group in _grouped(found, rows, _letters):
        records, broken = [], {}
        for row, cells in enumerate(group):
            if isinstance(cells, csv.Error):
                cells, broken[row] = [], f"The row cannot be read: {cells}."
            elif len(cells) != len(head):
                broken[row] = f"The row has {len(cells)} cells, and the head has {len(head)}."
            records.append(dict(itertools.zip_longest(head, cells[: len(head)])))
        yield pa.Table.from_pylist(records, schema), broken


def _letters(cells: list[str] | csv.Error) -> int:
    return 0 if isinstance(cells, csv.Error) else sum(map(len, cells))


def _records(stream: Any) -> Iterator[list[str] | csv.Error]:
    """The rows of CSV but for empty ones; an error in the place of one that cannot be read."""
    reader = csv.reader(io.TextIOWrapper(stream, "utf-8-sig", "replace", newline=""))
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield error
        else:
            if row:
                yield row


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


def _grouped(rows: Iterable[Any], count: int, size: Callable[[Any], int] = len) -> Iterator[list[Any]]:
    """Rows by ``count``, or fewer where their sizes are `WINDOW_BYTES` together."""
    group: list[Any] = []
    held = 0
    for row in rows:
        group.append(row)
        held += size(row)
        if len(group) == count or held >= WINDOW_BYTES:
            yield group
            group, held = [], 0
    if group:
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
    except (pa.ArrowException, OverflowError):
        texts = [value if isinstance(value, str | None) else json.dumps(value, ensure_ascii=False) for value in values]
        return pa.array(texts, pa.string())


READERS: dict[str, Callable[[Unit, int], Iterator[Read]]] = {"text": _text, "jsonl": _jsonl, "csv": _csv}
