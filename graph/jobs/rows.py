"""A unit of the input → its rows, in windows: Arrow tables, of which no more is in memory than is asked for."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from graph.jobs import lines
from graph.jobs.places import place, read
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
        if stop is not None and first >= stop:
            return
        last = first + file.metadata.row_group(group).num_rows
        if last > start:
            position = first
            for batch in file.iter_batches(batch_size=rows, row_groups=[group]):
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
