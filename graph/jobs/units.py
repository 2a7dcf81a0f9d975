"""An input cut into units, each read by one worker: a stretch of a file, or some files of a folder.

The cut depends on the input alone, so that a job that goes on later, or in shards on several machines, finds the same
units with the same rows.
"""

import codecs
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from deployments.errors import ConfigError
from graph.jobs.places import Place, exists, files, place, read

_SHARE = 64  # units that an input is cut into, if they are not too small or too large for it
_LEAST_BYTES, _MOST_BYTES = 64 * 2**10, 64 * 2**20
_MOST_FILES = 1024
_MOST_PIECES = 8  # of a row group
_BLOCK = 2**22
COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}
_ENDINGS = {
    "jsonl": (".jsonl", ".ndjson", ".json"),
    "csv": (".csv",),
    "parquet": (".parquet", ".pq"),
    "text": (".txt", ".text"),
    "arrow": (".arrow",),
    "image": (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"),
    "audio": (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac"),
}
FORMATS = tuple(_ENDINGS)


@dataclass(frozen=True)
class Unit:
    """A part of the input.

    Args:
        number: of the unit.
        format: one of `FORMATS`.
        paths: its file; of images and sounds, its files.
        start, stop: bytes of a file of lines, rows of a Parquet file; ``stop`` None for the end.
        limit: rows that are taken, None for all.
    """

    number: int
    format: str
    paths: tuple[str, ...]
    start: int = 0
    stop: int | None = None
    limit: int | None = None


def plan(inputs: Sequence[str], asked: str | None, window: int) -> list[Unit]:
    """The units of an input.

    Args:
        inputs: paths, URLs or patterns.
        asked: the format, None to tell by the names.
        window: rows of a window; a row group of Parquet is cut between windows.

    Raises:
        ConfigError: there is nothing, or the format cannot be told.
    """
    found = [entry for name in inputs for entry in _files(name)]
    kind = asked or _format_of(found[0][0])
    found = [(path, size) for path, size in found if asked or _format_of(path, kind) == kind]
    if kind in ("image", "audio"):
        each = max(1, min(_MOST_FILES, -(-len(found) // _SHARE)))
        groups = [found[first : first + each] for first in range(0, len(found), each)]
        return [Unit(number, kind, tuple(path for path, _ in group)) for number, group in enumerate(groups)]
    share = min(max(sum(size for _, size in found) // _SHARE, _LEAST_BYTES), _MOST_BYTES)
    cuts = (
        (path, start, stop) for path, size in found for start, stop in _cuts(kind, place(path), size, share, window)
    )
    return [Unit(number, kind, (path,), start, stop) for number, (path, start, stop) in enumerate(cuts)]


def _files(name: str) -> list[tuple[str, int]]:
    """`files`; of a folder that ``datasets`` saved, those of the dataset."""
    if "*" in name or not exists(place(name).child("state.json")):
        if "*" not in name and exists(place(name).child("dataset_dict.json")):
            splits = json.loads(read(place(name).child("dataset_dict.json")))["splits"]
            raise ConfigError(f"{name} has the splits {', '.join(splits)}: give the folder of one, {name}/{splits[0]}.")
        return files(name)
    state = json.loads(read(place(name).child("state.json")))
    if state.get("_indices_data_files"):
        raise ConfigError(f"{name} is a selection: save it with `dataset.flatten_indices().save_to_disk(...)`.")
    wanted = [entry["filename"] for entry in state["_data_files"]]
    sizes = dict(files(name))
    paths = {path.rpartition("/")[2]: path for path in sizes}
    return [(paths[file], sizes[paths[file]]) for file in wanted]


def _format_of(path: str, wanted: str | None = None) -> str:
    stem = path.lower()
    for ending in COMPRESSED:
        stem = stem.removesuffix(ending)
    for kind, endings in _ENDINGS.items():
        if stem.endswith(endings):
            return kind
    if wanted is not None:
        return ""
    raise ConfigError(f"The format of {path} cannot be told by its name: say it with --format ({', '.join(FORMATS)}).")


def _cuts(kind: str, where: Place, size: int, share: int, window: int) -> Iterator[tuple[int, int | None]]:
    """Where one file is cut."""
    if kind == "parquet":
        with where.fs.open_input_file(where.path) as file:
            found = pq.ParquetFile(file).metadata
        groups = [found.row_group(number) for number in range(found.num_row_groups)]
        scale = size / max(1, sum(group.total_byte_size for group in groups))  # what they tell is not compressed
        yield from _row_cuts([(group.num_rows, group.total_byte_size * scale) for group in groups], share, window)
    elif kind == "arrow" or where.path.endswith(tuple(COMPRESSED)) or size <= share:
        yield 0, None
    else:
        ends = _quoted_ends(where, share) if kind == "csv" else _line_ends(where, size, share)
        starts = [0, *(end for end in ends if end < size)]
        yield from zip(starts, [*starts[1:], None], strict=True)


def _row_cuts(groups: Sequence[tuple[int, float]], share: int, window: int) -> Iterator[tuple[int, int]]:
    """Rows from and to, of Parquet with ``groups`` of so many rows and bytes: between groups, or in a large one.

    Whoever reads rows in a group has to read it from its beginning; so it is cut into a few.
    """
    start = position = 0
    held = 0.0
    for rows, size in groups:
        pieces = min(_MOST_PIECES, max(1, math.ceil(size / share)))
        each = max(1, -(-rows // pieces // window) * window)
        if each >= rows:
            position, held = position + rows, held + size
            if held >= share:
                yield start, position
                start, held = position, 0.0
            continue
        if start < position:
            yield start, position
        yield from ((position + first, position + min(first + each, rows)) for first in range(0, rows, each))
        start = position = position + rows
        held = 0.0
    if start < position:
        yield start, position


def _line_ends(where: Place, size: int, share: int) -> Iterator[int]:
    """Positions behind the first line break from each multiple of ``share`` on."""
    with where.fs.open_input_file(where.path) as file:
        position = share
        while position < size:
            file.seek(position)
            while (block := file.read(_BLOCK)) and (found := block.find(b"\n")) < 0:
                position += len(block)
            if not block:
                return
            yield position + found + 1
            position = max(position + found + 1, position - position % share + share)


def _quoted_ends(where: Place, share: int) -> Iterator[int]:
    """The same for CSV, where a line break inside of quotes ends no row: the file is read through."""
    position, wanted, quotes = 0, share, _Quotes()
    with where.fs.open_input_stream(where.path) as file:
        while block := file.read(_BLOCK):
            if not position and block.startswith(codecs.BOM_UTF8):
                block = b",,," + block[len(codecs.BOM_UTF8) :]  # a quote behind it opens a cell
            content = np.frombuffer(block, np.uint8)
            ends = np.flatnonzero((content == ord("\n")) & ~quotes.inside(content)) + position + 1
            while (after := ends[ends > wanted]).size:
                yield int(after[0])
                wanted = int(after[0]) + share
            position += len(block)


class _Quotes:
    """Tells what stands inside of quotes as ``csv.reader`` has it, block after block.

    A quote opens only at the beginning of a cell, or right behind one that closes: the two are one that is meant.
    Any other outside of quotes (``a 5" pipe``) is part of its cell.
    """

    def __init__(self) -> None:
        self._inside = False
        self._last = ord("\n")
        self._closed = False  # whether the last byte was a quote that closes

    def inside(self, content: Any) -> Any:
        """For each byte of a block, whether it is inside."""
        quotes = np.flatnonzero(content == ord('"'))
        before = np.where(quotes > 0, content[quotes - 1], self._last)
        opens = (before == ord(",")) | (before == ord("\n")) | (before == ord("\r"))
        turning = np.zeros(len(content), np.uint8)
        inside, closed = self._inside, -1 if self._closed else -2
        for quote, can_open in zip(quotes.tolist(), opens.tolist(), strict=True):
            if inside:
                closed = quote
            elif not can_open and quote != closed + 1:
                continue
            inside = not inside
            turning[quote] = 1
        within = (np.cumsum(turning, dtype=np.uint8) + np.uint8(self._inside)) & 1 == 1
        self._inside, self._last, self._closed = inside, int(content[-1]), closed == len(content) - 1
        return within


def to_json(unit: Unit) -> dict[str, Any]:
    """A unit as it stands in the plan."""
    return {**vars(unit), "paths": list(unit.paths)}


def from_json(value: dict[str, Any]) -> Unit:
    """The unit of `to_json`."""
    return Unit(**{**value, "paths": tuple(value["paths"])})
