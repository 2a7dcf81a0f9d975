"""A unit of the input → its rows, in windows: Arrow tables, of which no more is in memory than is asked for."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from graph.jobs import lines
from graph.jobs.places import place, read
from graph.jobs.settings import WINDOW_BYTES
from graph.jobs.units import Unit

_PATH = "path"


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
        rows: of the input in each window (>=1); the last has fewer, and so have those of large rows.
        shard: ``(index, count)``: of every ``count`` rows, only that at ``index``.
    """
    index, count = shard
    left, first = unit.limit, 0
    for number, window in enumerate(_READERS[unit.format](unit, rows)):
        table = window.table if left is None else window.table.slice(0, left)
        kept = range((index - first) % count, table.num_rows, count)
        yield Window(
            number,
            table if count == 1 else table.take(pa.array(kept, pa.int64())),
            {place_: window.broken[row] for place_, row in enumerate(kept) if row in window.broken},
            None if window.files is None else [window.files[row] for row in kept],
        )
        first += table.num_rows
        left = None if left is None else left - table.num_rows
        if left == 0:
            return


def _tables(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[Window]:
    """Batches of any length → windows."""
    waiting: list[pa.RecordBatch] = []
    number = 0
    for batch in itertools.chain.from_iterable(map(_pieces, batches)):
        waiting.append(batch)
        held = sum(part.num_rows for part in waiting)
        while held >= rows or (held and sum(part.nbytes for part in waiting) >= WINDOW_BYTES):
            whole = pa.Table.from_batches(waiting)
            yield Window(number, whole.slice(0, rows))
            waiting = whole.slice(rows).to_batches()
            held = max(0, held - rows)
            number += 1
    if sum(part.num_rows for part in waiting):
        yield Window(number, pa.Table.from_batches(waiting))


def _pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """A batch, halved until no part has more than `WINDOW_BYTES`, or a part is one row."""
    if batch.nbytes <= WINDOW_BYTES or batch.num_rows <= 1:
        yield batch
        return
    half = batch.num_rows // 2
    yield from _pieces(batch.slice(0, half))
    yield from _pieces(batch.slice(half))


def _parquet(unit: Unit, rows: int) -> Iterator[Window]:
    where = place(unit.paths[0])
    with where.fs.open_input_file(where.path) as stream:
        file = pq.ParquetFile(stream)
        yield from _tables(_stretch(file, unit.start, unit.stop, rows), rows)


def _stretch(file: pq.ParquetFile, start: int, stop: int | None, rows: int) -> Iterator[pa.RecordBatch]:
    """Rows ``start`` to ``stop``, read from the row groups that have them."""
    first = 0
    for group in range(file.metadata.num_row_groups):
        if stop is not None and first >= stop:
            return
        last = first + file.metadata.row_group(group).num_rows
        if last > start:
            position = first
            size = file.metadata.row_group(group).total_byte_size
            each = min(rows, max(1, (last - first) * WINDOW_BYTES // max(1, size)))
            for batch in file.iter_batches(batch_size=each, row_groups=[group]):
                skip = max(0, start - position)
                most = batch.num_rows if stop is None else min(batch.num_rows, stop - position)
                if skip < most:
                    yield batch.slice(skip, most - skip)
                position += batch.num_rows
                if stop is not None and position >= stop:
                    return
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


def _of_lines(unit: Unit, rows: int) -> Iterator[Window]:
    for number, (table, broken) in enumerate(lines.READERS[unit.format](unit, rows)):
        yield Window(number, table, broken)


_READERS: dict[str, Callable[[Unit, int], Iterator[Window]]] = {
    **dict.fromkeys(lines.READERS, _of_lines),
    "parquet": _parquet,
    "arrow": _arrow,
    "image": _files,
    "audio": _files,
}
