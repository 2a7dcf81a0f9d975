"""What jobs are made of, without Ray: units and windows of an input, typed columns, whole files, the command line."""

import argparse
import csv
import datetime
import gzip
import io
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from deployments.config import ModelConfig
from deployments.errors import ConfigError, InferenceError, InvalidInputError
from deployments.tasks import TASKS
from graph.jobs import command, dataset, folder, lines, places, run, units, work
from graph.jobs import rows as rows_module
from graph.jobs.columns import column, jsonl, with_outcomes
from graph.jobs.folder import agree, limited, open_folder
from graph.jobs.inputs import RowReader, mapped
from graph.jobs.places import files, place, read, write
from graph.jobs.rows import Window, _stretch, windows
from graph.jobs.settings import Columns, Engine, Job
from graph.jobs.units import plan
from graph.jobs.work import encoded

ROWS = [{"id": number, "text": f"row {number} " + "x" * (number % 90)} for number in range(3000)]


@pytest.fixture(autouse=True)
def _small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "_LEAST_BYTES", 5000)


def rows_of(paths: list[str], window: int = 100, form: str | None = None, **more: Any) -> list[dict[str, Any]]:
    """All rows of an input, unit by unit, window by window."""
    found = plan(paths, form, window)
    return [row for unit in found for part in windows(unit, window, **more) for row in part.table.to_pylist()]


def write_jsonl(path: Path) -> str:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    return str(path)


def test_lines_are_cut_into_units_that_have_each_row_once(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "in.jsonl")
    assert len(plan([path], None, 100)) > 10
    assert rows_of([path]) == ROWS


def test_a_compressed_file_is_one_unit(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl.gz"
    with gzip.open(path, "wt") as file:
        file.writelines(f"{json.dumps(row)}\n" for row in ROWS)
    assert len(plan([str(path)], None, 100)) == 1
    assert rows_of([str(path)]) == ROWS


@given(st.lists(st.lists(st.text('ab,"\n\r é', max_size=12), min_size=2, max_size=2), max_size=60))
def test_csv_is_cut_between_rows_whatever_is_quoted(tmp_path_factory: pytest.TempPathFactory, cells: Any) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([["id", "text"], *cells])
    path = tmp_path_factory.mktemp("csv") / "in.csv"
    path.write_bytes(text.getvalue().encode())
    where = place(str(path))
    ends = [0, *units._quoted_ends(where, 20), None]
    made = [units.Unit(number, "csv", (str(path),), *cut) for number, cut in enumerate(itertools.pairwise(ends))]
    found = [tuple(row.values()) for unit in made for part in windows(unit, 7) for row in part.table.to_pylist()]
    assert found == [tuple(row) for row in cells]


@given(st.text('ab,"\n\r é', max_size=300), st.booleans(), st.integers(3, 40))
def test_csv_is_cut_between_rows_whatever_stands_in_it(
    tmp_path_factory: pytest.TempPathFactory, text: str, mark: bool, block: int
) -> None:
    """Quotes within unquoted cells too; the oracle is the file read without a cut."""
    path = tmp_path_factory.mktemp("csv") / "in.csv"
    path.write_bytes(f'"id",text\n{text}'.encode("utf-8-sig" if mark else "utf-8"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(units, "_BLOCK", block)
        cuts = [0, *units._quoted_ends(place(str(path)), 15), None]
    assert _csv_rows(path, cuts) == _csv_rows(path, [0, None])


def _csv_rows(path: Path, cuts: list[int | None]) -> list[Any]:
    made = [units.Unit(0, "csv", (str(path),), start or 0, stop) for start, stop in itertools.pairwise(cuts)]
    parts = [part for unit in made for part in windows(unit, 5)]
    return [(row, part.broken.get(place)) for part in parts for place, row in enumerate(part.table.to_pylist())]


def test_a_csv_of_inches_and_cells_of_several_lines_is_cut_between_rows(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    rows = [f'{number},a {number}" pipe,"first\nsecond, ""third"""\n' for number in range(2000)]
    path.write_text("".join(["id,pipe,text\n", *rows]))
    assert len(plan([str(path)], None, 100)) > 10
    want = [
        {"id": f"{number}", "pipe": f'a {number}" pipe', "text": 'first\nsecond, "third"'} for number in range(2000)
    ]
    assert rows_of([str(path)]) == want


def test_cells_of_csv_may_be_long_and_one_that_is_too_long_is_one_broken_row(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text(f"\nid,text\n1,{'w' * 200_000}\n2,short\n")
    assert [len(row["text"]) for row in rows_of([str(path)])] == [200_000, 5]
    before = csv.field_size_limit(1000)
    try:
        [window] = windows(units.Unit(0, "csv", (str(path),)), 10)
    finally:
        csv.field_size_limit(before)
    assert window.table.column("text").to_pylist() == [None, "short"]
    assert "field larger than field limit" in window.broken.pop(0)
    assert window.broken == {}


@pytest.mark.parametrize("group", [64, 700, 5000])
def test_parquet_is_cut_into_rows_whatever_its_groups(tmp_path: Path, group: int) -> None:
    path = str(tmp_path / "in.parquet")
    pq.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=group)
    assert len(plan([path], None, 100)) > 1
    assert rows_of([path]) == ROWS


def test_a_row_group_is_cut_into_a_few_units_and_small_ones_are_joined(tmp_path: Path) -> None:
    path = str(tmp_path / "in.parquet")
    table = pa.table({"text": [f"{number:09}" * 20 for number in range(20_000)]})
    pq.write_table(table, path, row_group_size=20_000, use_dictionary=False, compression="none")
    assert len(plan([path], None, 100)) == 8
    pq.write_table(table, path, row_group_size=100, use_dictionary=False, compression="none")
    found = plan([path], None, 1000)
    assert 30 < len(found) <= 65
    assert all(unit.start % 100 == 0 for unit in found)  # between groups, whatever the windows
    assert [unit.start for unit in found[1:]] == [unit.stop for unit in found[:-1]]
    assert (found[0].start, found[-1].stop) == (0, 20_000)


def test_no_more_of_a_row_group_is_read_than_a_unit_needs(tmp_path: Path) -> None:
    path = str(tmp_path / "in.parquet")
    pq.write_table(pa.table({"id": range(1000)}), path, row_group_size=500)
    read: list[int] = []

    class Counting(pq.ParquetFile):  # type: ignore[misc]
        def iter_batches(self, *args: Any, **kwargs: Any) -> Iterator[pa.RecordBatch]:
            for batch in super().iter_batches(*args, **kwargs):
                read.append(batch.num_rows)
                yield batch

    found = [batch.column(0).to_pylist() for batch in _stretch(Counting(path), 520, 560, 20)]
    assert [*itertools.chain(*found)] == [*range(520, 560)]
    assert sum(read) == 60


def test_text_and_what_datasets_saved_and_folders_of_files(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("one\n\ntwo\r\nthree")
    assert rows_of([str(tmp_path / "in.txt")]) == [{"text": "one"}, {"text": "two"}, {"text": "three"}]
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved", num_shards=3)
    assert rows_of([str(tmp_path / "saved")]) == ROWS
    (tmp_path / "pictures" / "inner").mkdir(parents=True)
    for name in ("b.png", "a.jpg", "inner/c.webp", "notes.md"):
        (tmp_path / "pictures" / name).write_bytes(name.encode())
    [unit, *others] = (
        plan([str(tmp_path / "pictures")], "image", 10) if False else plan([str(tmp_path / "pictures")], None, 10)
    )
    found = [part for each in (unit, *others) for part in windows(each, 10)]
    read_back = [one() for part in found for one in part.files or ()]
    assert read_back == [b"a.jpg", b"b.png", b"inner/c.webp"]


def test_splits_and_selections_of_datasets_are_refused_with_what_to_do(tmp_path: Path) -> None:
    whole = datasets.Dataset.from_list(ROWS)
    datasets.DatasetDict({"train": whole}).save_to_disk(tmp_path / "splits")
    with pytest.raises(ConfigError, match="splits/train"):
        plan([str(tmp_path / "splits")], None, 10)
    with pytest.raises(ConfigError, match="cannot be told"):
        plan([write_jsonl(tmp_path / "in.unknown")], None, 10)
    with pytest.raises(ConfigError, match="nothing at"):
        plan([str(tmp_path / "absent.jsonl")], None, 10)


@pytest.mark.parametrize("count", [1, 3, 7])
def test_shards_have_each_row_once(tmp_path: Path, count: int) -> None:
    path = write_jsonl(tmp_path / "in.jsonl")
    shards = [rows_of([path], shard=(index, count)) for index in range(count)]
    assert sorted(row["id"] for shard in shards for row in shard) == list(range(3000))
    assert max(map(len, shards)) - min(map(len, shards)) <= len(plan([path], None, 100)) * 2


@pytest.mark.parametrize("kind", ["jsonl", "csv", "txt", "parquet", "arrow"])
def test_large_rows_make_windows_of_fewer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    for module in (lines, rows_module):
        monkeypatch.setattr(module, "WINDOW_BYTES", 10_000)
    made = [{"text": f"{number} " + "x" * (2000 if 200 <= number < 300 else 20)} for number in range(500)]
    path = tmp_path / f"in.{kind}"
    if kind == "jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in made))
    elif kind in ("csv", "txt"):
        path.write_text("\n".join([*(["text"] if kind == "csv" else []), *(row["text"] for row in made)]))
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(made), path)
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, pa.schema([("text", pa.string())])) as stream:
            stream.write_table(pa.Table.from_pylist(made), max_chunksize=400)
    unit = units.Unit(0, {"txt": "text"}.get(kind, kind), (str(path),))
    found = [part.table for part in windows(unit, 100)]
    assert [row for table in found for row in table.to_pylist()] == made
    assert max(table.num_rows for table in found) <= 100
    assert max(table.nbytes for table in found) < 25_000  # a row that crosses the bound is in
    assert len(found) < 70
    for count in (2, 7):
        shards = [[part.table for part in windows(unit, 100, (index, count))] for index in range(count)]
        rows = [[row for table in tables for row in table.to_pylist()] for tables in shards]
        assert rows == [made[index::count] for index in range(count)]


@pytest.mark.parametrize("limit", [1, 250, 3000, 9999])
def test_a_limit_takes_the_first_rows(tmp_path: Path, limit: int) -> None:
    found = limited(plan([write_jsonl(tmp_path / "in.jsonl")], None, 100), limit, 100)
    rows = [row for unit in found for part in windows(unit, 100) for row in part.table.to_pylist()]
    assert rows == ROWS[:limit]


def test_a_line_that_is_no_object_is_one_broken_row(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"text": "a"}\n[1]\nnot json\n{"text": 4}\n{"text": "\\ud83d"}\n{}\n')
    [unit] = plan([str(path)], None, 10)
    [window] = windows(unit, 10)
    assert sorted(window.broken) == [1, 2, 4]
    assert window.table.column("text").to_pylist() == ["a", None, None, "4", None, None]
    rows = RowReader(TASKS["text-classification"], Columns("text"), Window(1, pa.table({"b": [1]})), checked=True)
    with pytest.raises(InvalidInputError, match="'text' is null"):
        rows.input(0)


@pytest.mark.parametrize("depth", [40, 900, 100_000])
@pytest.mark.parametrize("signs", ['{"a":1}', "[1]"])
def test_a_line_that_is_nested_too_deeply_is_one_broken_row(tmp_path: Path, depth: int, signs: str) -> None:
    opens, _, closes = signs.partition("1")
    path = tmp_path / "in.jsonl"
    path.write_text(f'{{"text": "a", "deep": {opens * depth}1{closes * depth}}}\n{{"text": "b"}}\n')
    [window] = windows(units.Unit(0, "jsonl", (str(path),)), 10)
    assert window.table.column("text").to_pylist() == [None, "b"]
    assert list(window.broken) == [0]
    assert "nested deeper than 32" in window.broken[0]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("aé\n", max_size=3),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text("ab", max_size=1), part, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(st.sampled_from(["x", "y", ""]), _JSON, max_size=3), min_size=1, max_size=6))
@example([{"x": {}}, {"x": {}}])
@example([{"x": [{"a": {}}], "y": 2**70}])
@example([{"x": [1, {"a": 2}]}])
def test_rows_of_any_json_can_be_written_and_read(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    path = tmp_path_factory.mktemp("json") / "in.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    [window] = windows(*plan([str(path)], None, 10), 10)
    assert window.broken == {}
    table = pq.read_table(io.BytesIO(encoded(window.table, "parquet")))
    assert table.num_rows == len(rows)
    for written in (table.to_pylist(), window.table.to_pylist()):
        for row, got in zip(rows, written, strict=True):
            lost = [name for name in row if row[name] is not None and got[name] is None]
            assert lost == []


def test_empty_objects_become_json_text(tmp_path: Path) -> None:
    table = pa.table({"id": [1, 2], "meta": [{}, None], "more": [[{}], []]})
    assert pq.read_table(io.BytesIO(encoded(table, "parquet"))).to_pylist() == [
        {"id": 1, "meta": "{}", "more": "[{}]"},
        {"id": 2, "meta": None, "more": "[]"},
    ]


def test_cells_that_python_has_no_form_for_are_written_as_text() -> None:
    offsets, letters = np.array([0, 1, 2, 3], np.int32), b"a\xffc"
    broken = pa.Array.from_buffers(pa.string(), 3, [None, pa.py_buffer(offsets), pa.py_buffer(letters)])
    far = pa.array([0, 5 * 10**11, None], pa.int64()).cast(pa.timestamp("s"))
    nested = pa.StructArray.from_arrays([broken], ["text"])
    table = pa.table({"id": [1, 2, 3], "text": broken, "time": far, "nested": nested})
    assert [json.loads(line) for line in bytes(encoded(table, "jsonl")).splitlines()] == [
        {"id": 1, "text": "a", "time": "1970-01-01 00:00:00", "nested": {"text": "a"}},
        {"id": 2, "text": "\ufffd", "time": "17814-05-16 00:53:20", "nested": None},
        {"id": 3, "text": "c", "time": None, "nested": {"text": "c"}},
    ]


def test_patterns_and_hidden_files(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl", "_job.json", ".c.jsonl", "d.csv"):
        (tmp_path / name).write_text("{}\n")
    assert [Path(path).name for path, _ in files(str(tmp_path / "*.jsonl"))] == ["a.jsonl", "b.jsonl"]
    assert [Path(path).name for path, _ in files(str(tmp_path))] == ["a.jsonl", "b.jsonl", "d.csv"]


def test_any_filesystem_of_fsspec(tmp_path: Path) -> None:
    write(place("memory://job/in.jsonl"), b'{"text": "a"}\n{"text": "b"}\n')
    assert read(place("memory://job/in.jsonl")).startswith(b'{"text": "a"}')
    assert rows_of(["memory://job/in.jsonl"]) == [{"text": "a"}, {"text": "b"}]
    assert rows_of(["memory://job/*.jsonl"]) == [{"text": "a"}, {"text": "b"}]
    assert rows_of([f"file://{write_jsonl(tmp_path / 'in.jsonl')}"]) == ROWS
    with pytest.raises(ConfigError, match="cannot be reached"):
        place("nowhere://x")


@pytest.mark.parametrize("name", ["a b.jsonl", "a[1].jsonl", "100%41.jsonl", "é?.jsonl", "c#d.jsonl"])
@pytest.mark.parametrize("scheme", ["", "file://", "memory://"])
def test_names_with_any_sign(tmp_path: Path, scheme: str, name: str) -> None:
    base = f"{scheme}/job{tmp_path.name}" if scheme == "memory://" else f"{scheme}{tmp_path}"
    where = place(base)
    where.fs.create_dir(where.path)
    with where.fs.open_output_stream(where.child(name).path) as stream:
        stream.write(b'{"text": "a"}\n')
    [(found, size)] = files(base)
    assert size == 14
    assert read(place(found)) == b'{"text": "a"}\n'
    assert rows_of([base], form="jsonl") == [{"text": "a"}]
    if not scheme:
        assert files(f"{base}/{name}") == [(f"{base}/{name}", 14)]


def test_what_is_there_is_no_pattern(tmp_path: Path) -> None:
    for name in ("a[1].jsonl", "a1.jsonl", "a*.jsonl", "b b.jsonl"):
        (tmp_path / name).write_text("{}\n")
    for name in ("a[1].jsonl", "a*.jsonl"):
        assert [Path(path).name for path, _ in files(str(tmp_path / name))] == [name]
    assert [Path(path).name for path, _ in files(str(tmp_path / "a[12].jsonl"))] == ["a1.jsonl"]
    assert files(f"file://{tmp_path}/b b.jsonl") == [(f"file://{tmp_path}/b b.jsonl", 3)]


def test_a_filesystem_that_replaces_nothing(tmp_path: Path) -> None:
    """HDFS refuses to rename a file to the name of another, and shows a file while it is written."""

    class Hdfs(pafs.FSSpecHandler):  # type: ignore[misc]
        def move(self, source: str, target: str) -> None:
            if self.fs.exists(target):
                raise OSError("it exists")
            super().move(source, target)

        def open_output_stream(self, path: str, metadata: Any) -> Any:
            opened.append(path)
            return super().open_output_stream(path, metadata)

    opened: list[str] = []
    where = places.Place(pafs.PyFileSystem(Hdfs(fsspec.filesystem("file"))), str(tmp_path / "out"))
    for content in (b"first", b"second"):
        write(where, content)
        assert read(where) == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]
    assert where.path not in opened


def test_only_objects_are_written_in_place() -> None:
    assert {kind.__name__ for kind in places._OBJECTS} <= {"S3FileSystem", "GcsFileSystem", "AzureFileSystem"}
    assert places._OBJECTS


def test_a_file_is_written_whole_or_not(tmp_path: Path) -> None:
    where = place(str(tmp_path / "out"))
    write(where, b"first")
    with pytest.raises(TypeError):
        write(where, object())
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]
    assert read(where) == b"first"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ([{"label": "a", "score": 0.5}], "list<element: struct<label: string, score: double>>"),
        (np.float32([1, 2]), "list<element: float>"),
        (np.ones((2, 3), np.float32), "list<element: list<element: float>>"),
        ("half \ud83d", "string"),
        ({"text": "a", "chunks": [{"timestamp": (0.0, None)}]}, None),
        (Image.new("RGB", (2, 2)), "struct<bytes: binary, path: null>"),
        ({"audio": np.zeros((1, 8), np.float32), "sampling_rate": 8000}, "struct<bytes: binary, path: null>"),
    ],
)
def test_answers_become_typed_columns(value: Any, kind: str | None) -> None:
    table = with_outcomes(pa.table({"id": [1, 2]}), [value, InferenceError("no")], "prediction", "error")
    assert table.column_names == ["id", "prediction", "error"]
    assert table.column("error").to_pylist() == [None, "no"]
    assert table.column("prediction").null_count == 1
    if kind is not None:
        assert str(table.schema.field("prediction").type).replace("item", "element") == kind
    assert json.loads(jsonl(table).splitlines()[1])["error"] == "no"
    assert pq.read_table(io.BytesIO(encoded(table, "parquet"))).equals(table)


def test_answers_of_several_types_become_json_text() -> None:
    assert column([{"a": 1}, "text", None]).to_pylist() == ['{"a": 1}', '"text"', None]


def _job(tmp_path: Path, **more: Any) -> Job:
    engine = Engine(ModelConfig(task="fake", name="fake"))
    return Job((str(tmp_path / "in.jsonl"),), str(tmp_path / "out"), engine, **more)


def test_parts_of_other_types_are_brought_together(tmp_path: Path) -> None:
    job = _job(tmp_path)
    (tmp_path / "out").mkdir()
    answers: list[list[Any]] = [[InferenceError("no")], [[]], [[{"score": 1}]], [[{"score": 0.5, "box": [1, 2]}]]]
    for number, outcomes in enumerate(answers):
        table = with_outcomes(pa.table({"id": [number]}), outcomes, "prediction", "error")
        write(place(str(tmp_path / f"out/part-{number}.parquet")), encoded(table, "parquet"))
    agree(job)
    table = pq.read_table(tmp_path / "out")
    assert table.column("id").to_pylist() == [0, 1, 2, 3]
    assert table.column("prediction").to_pylist() == [
        None,
        [],
        [{"score": 1.0, "box": None}],
        [{"score": 0.5, "box": [1, 2]}],
    ]
    table = with_outcomes(pa.table({"id": [9]}), ["a text"], "prediction", "error")
    write(place(str(tmp_path / "out/part-9.parquet")), encoded(table, "parquet"))
    agree(job)
    assert pq.read_table(tmp_path / "out").schema.field("prediction").type == pa.string()


@pytest.mark.parametrize(
    ("values", "kinds", "texts"),
    [
        ((2**60 + 1, 0.5), (pa.int64(), pa.float64()), [str(2**60 + 1), "0.5"]),
        (
            (datetime.datetime(3000, 1, 1), datetime.datetime(2000, 1, 1)),
            (pa.timestamp("s"), pa.timestamp("ns")),
            ['"3000-01-01 00:00:00"', '"2000-01-01 00:00:00"'],
        ),
    ],
    ids=["large numbers", "far times"],
)
def test_types_that_cannot_keep_a_value_become_json_text(
    tmp_path: Path, values: Any, kinds: Any, texts: list[str]
) -> None:
    (tmp_path / "out").mkdir()
    for number, (value, kind) in enumerate(zip(values, kinds, strict=True)):
        table = pa.table({"id": [number], "value": pa.array([value], kind)})
        write(place(str(tmp_path / f"out/part-{number}.parquet")), encoded(table, "parquet"))
    for _ in range(2):  # done again, it changes nothing
        agree(_job(tmp_path))
        assert pq.read_table(tmp_path / "out").to_pylist() == [
            {"id": number, "value": text} for number, text in enumerate(texts)
        ]


@pytest.mark.parametrize("moment", range(6))
def test_shards_that_begin_together_share_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """One opens it right after the other has looked at, or written, the n-th thing there."""
    write_jsonl(tmp_path / "in.jsonl")
    calls: list[str] = []
    found: list[Any] = []

    def noted(name: str) -> Any:
        real = getattr(folder, name)

        def call(*args: Any) -> Any:
            outcome = real(*args)
            outcome = outcome if outcome is None or isinstance(outcome, bool) else list(outcome)
            calls.append(name)
            if len(calls) == moment + 1:
                found.append(open_folder(_job(tmp_path, shard=(1, 2))))
            return outcome

        return call

    for name in ("exists", "names_in", "write"):
        monkeypatch.setattr(folder, name, noted(name))
    found.append(open_folder(_job(tmp_path, shard=(0, 2))))
    assert len(calls) > moment
    assert len(found) == 2
    assert found[0] == found[1] == plan([str(tmp_path / "in.jsonl")], None, 1024)


def test_a_folder_belongs_to_one_job(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "in.jsonl")
    made = open_folder(_job(tmp_path))
    (tmp_path / "later.jsonl").write_text("{}\n")
    assert open_folder(_job(tmp_path)) == made
    with pytest.raises(ConfigError, match="window"):
        open_folder(_job(tmp_path, window=7))
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "file").write_text("")
    with pytest.raises(ConfigError, match="something else"):
        open_folder(Job(("in",), str(tmp_path / "foreign"), Engine(ModelConfig(task="fake"))))


@pytest.mark.parametrize(
    ("task", "columns", "names", "found"),
    [
        ("text-classification", Columns(), ["id", "text"], "text"),
        ("text-classification", Columns("id"), ["id", "text"], "id"),
        ("fill-mask", Columns(), ["only"], "only"),
        (
            "question-answering",
            Columns(),
            ["id", "question", "context"],
            {"question": "question", "context": "context"},
        ),
        (
            "visual-question-answering",
            Columns({"image": "i", "question": "q"}),
            ["i", "q"],
            {"image": "i", "question": "q"},
        ),
        ("automatic-speech-recognition", Columns(), ["id", "audio"], "audio"),
    ],
)
def test_columns_are_found(task: str, columns: Columns, names: list[str], found: Any) -> None:
    assert mapped(TASKS[task], columns, names) == found


@pytest.mark.parametrize("columns", [Columns(), Columns("absent"), Columns("a", {"top_k": "absent"})])
def test_columns_that_do_not_exist_are_told(columns: Columns) -> None:
    with pytest.raises(ConfigError, match="there are: a, b"):
        mapped(TASKS["text-classification"], columns, ["a", "b"])


def test_rows_bring_inputs_and_parameters() -> None:
    table = pa.Table.from_pylist(
        [
            {"m": [{"role": "user", "content": "a", "name": None}], "k": 2},
            {"m": [{"role": "user", "content": "b"}], "k": None},
        ]
    )
    rows = RowReader(TASKS["text-generation"], Columns("m", {"top_k": "k"}), Window(0, table))
    assert [rows.input(row) for row in (0, 1)] == [[{"role": "user", "content": text}] for text in "ab"]
    assert [rows.parameters(row) for row in (0, 1)] == [{"top_k": 2}, {}]


class Stub:
    """A predictor that answers each row with its input."""

    spec = TASKS["question-answering"]

    def __init__(self, reason: str | None = None) -> None:
        self._reason = reason

    def submit(self, rows: RowReader, count: int, broken: Any) -> Any:
        return lambda: [rows.given(row) for row in range(count)]

    def unwell(self) -> str | None:
        return self._reason


def test_a_graph_is_asked_for_the_task_before_columns_are_guessed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or each window would be guessed for itself: here the first rows have another column than those behind them."""
    path = tmp_path / "in.jsonl"
    path.write_text('{"question": "why?", "context": "so"}\n' + '{"question": "why?", "context": "so", "x": 1}\n' * 200)
    monkeypatch.setattr(run, "predictor_of", lambda _: Stub())
    engine = Engine(ModelConfig(name="qa", model="qa"), url="http://127.0.0.1:1")
    job = Job((str(path),), str(tmp_path / "out"), engine)
    found = run.with_columns(job, plan([str(path)], None, 10))
    assert found.columns.inputs == {"question": "question", "context": "context"}


def test_a_worker_over_a_dataset_ends_when_its_device_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    table = pa.table({"question": ["why?"], "context": ["so"]})
    predictors = iter([Stub(), Stub("the device is lost")])
    monkeypatch.setattr(work, "predictor_of", lambda _: next(predictors))
    engine = Engine(ModelConfig(task="fake", resources={"num_cpus": 3}))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        well, lost = dataset.TableMapper(engine, Columns()), dataset.TableMapper(engine, Columns())
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
    assert well(table).column("error").to_pylist() == [None]

    def ended(status: int) -> None:
        raise SystemExit(status)

    monkeypatch.setattr(os, "_exit", ended)
    with pytest.raises(SystemExit):
        lost(table)


def _options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_to(parser.add_subparsers())
    return parser.parse_args(["batch", "--input", "in", "--output", "out", "--task", "fill-mask", *arguments])


def test_the_command_line_is_read() -> None:
    job = command.job_of(
        _options("--column", "text", "--param", "top_k=3", 'targets=["a"]', "--replicas", "1..4", "--shard", "2/3")
    )
    assert job.engine.parameters == {"top_k": 3, "targets": ["a"]}
    assert (job.columns.inputs, job.pool.max_size, job.shard) == ("text", 4, (2, 3))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--replicas", "0"],
        ["--replicas", "4..2"],
        ["--shard", "3/3"],
        ["--limit", "0"],
        ["--param", "top_k"],
        ["--config", '{"dtyp": "float32"}'],
    ],
)
def test_mistakes_of_the_command_line_are_told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(_options(*arguments)) == 2
    assert capsys.readouterr().err
