"""The output folder of a job beside its parts: what the job is, its plan, which units are complete."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from deployments.errors import ConfigError
from graph.jobs.columns import json_column, values_of
from graph.jobs.places import Place, exists, names_in, place, read, write
from graph.jobs.rows import windows
from graph.jobs.settings import Job
from graph.jobs.units import Unit, from_json, plan, to_json
from graph.jobs.work import done_name, encoded

_JOB, _PLAN = "_job.json", "_plan.jsonl"


def open_folder(job: Job) -> list[Unit]:
    """The units of ``job``: those of the plan in its output folder, made if there is none.

    Raises:
        ConfigError: the folder has the output of another job, or files that are none; or there is no input.
    """
    folder = place(job.output)
    mine = json.loads(json.dumps(job.identity()))
    names = set(names_in(folder))  # one look: shards that begin together write the same while this one reads
    if _JOB in names:
        _check_same(job, mine)
    elif any(not name.startswith(".") for name in names - {_PLAN}):
        raise ConfigError(f"{job.output} has files of something else: choose another folder.")
    if not exists(folder.child(_PLAN)):
        units = limited(plan(job.inputs, job.format, job.window), job.limit, job.window)
        folder.fs.create_dir(folder.path, recursive=True)
        if not exists(folder.child(_JOB)):
            write(folder.child(_JOB), json.dumps(mine, indent=1).encode())
        _check_same(job, mine)
        if not exists(folder.child(_PLAN)):
            write(folder.child(_PLAN), "".join(f"{json.dumps(to_json(unit))}\n" for unit in units).encode())
    return [from_json(json.loads(line)) for line in read(folder.child(_PLAN)).splitlines()]


def _check_same(job: Job, mine: dict[str, Any]) -> None:
    theirs = json.loads(read(place(job.output).child(_JOB)))
    if differs := [name for name in mine if mine[name] != theirs.get(name)]:
        what = ", ".join(differs)
        raise ConfigError(f"{job.output} has the output of a job with another {what}: choose another folder.")


def limited(units: Sequence[Unit], limit: int | None, window: int) -> list[Unit]:
    """The first units that have ``limit`` rows, the last of them cut; read through, as far as that."""
    if limit is None:
        return list(units)
    chosen: list[Unit] = []
    for unit in units:
        if limit <= 0:
            break
        chosen.append(replace(unit, limit=limit))
        limit -= sum(part.table.num_rows for part in windows(chosen[-1], window))
    return chosen


def complete(job: Job, units: Sequence[Unit]) -> dict[int, dict[str, Any]]:
    """Number of each unit that is complete → its rows and failures."""
    folder = place(job.output)
    names = set(names_in(folder))
    done = {unit.number: done_name(job, unit.number) for unit in units}
    return {number: json.loads(read(folder.child(name))) for number, name in done.items() if name in names}


def parts(job: Job) -> frozenset[str]:
    """Names of the output files that there are."""
    return frozenset(name for name in names_in(place(job.output)) if name.startswith("part-"))


def agree(job: Job) -> None:
    """Give all parts one schema: a window without any answers, or without any boxes, does not know the type of one.

    Types that cannot be joined become JSON text.
    """
    if job.output_format != "parquet":
        return
    folder = place(job.output)
    schemas = {name: _schema(folder.child(name)) for name in sorted(parts(job))}
    if len(set(schemas.values())) <= 1:
        return
    wanted = _that_fits(folder, schemas)
    for name, schema in schemas.items():
        if schema != wanted:
            where = folder.child(name)
            with where.fs.open_input_file(where.path) as file:
                table = pq.read_table(file)
            write(where, encoded(_cast(table, wanted), job.output_format))


def _schema(where: Place) -> pa.Schema:
    with where.fs.open_input_file(where.path) as file:
        return pq.read_schema(file).remove_metadata()


def _that_fits(folder: Place, schemas: Mapping[str, pa.Schema]) -> pa.Schema:
    """The joined types; JSON text for a column that has values, such as large numbers, which its type cannot keep."""
    wanted = _joined(list(schemas.values()))
    for name, schema in schemas.items():
        names = [field.name for field in schema if wanted.field(field.name).type not in (field.type, pa.string())]
        if not names:
            continue
        where = folder.child(name)
        with where.fs.open_input_file(where.path) as file:
            table = pq.read_table(file, columns=names)
        for column in names:
            try:
                _as(table.column(column), wanted.field(column).type)
            except (pa.ArrowException, OverflowError, TypeError, ValueError):
                wanted = wanted.set(wanted.get_field_index(column), pa.field(column, pa.string()))
    return wanted


def _joined(schemas: Sequence[pa.Schema]) -> pa.Schema:
    names = dict.fromkeys(name for schema in schemas for name in schema.names)
    return pa.schema(
        [_field(name, [schema.field(name) for schema in schemas if name in schema.names]) for name in names]
    )


def _field(name: str, fields: Sequence[pa.Field]) -> pa.Field:
    try:
        joined = pa.unify_schemas([pa.schema([field]) for field in fields], promote_options="permissive")
        return joined.field(0)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.field(name, pa.string())


def _cast(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = []
    for field in schema:
        if field.name not in table.column_names:
            columns.append(pa.nulls(table.num_rows, field.type))
            continue
        values = table.column(field.name)
        if field.type == pa.string() and values.type not in (pa.string(), pa.null()):
            columns.append(json_column(values_of(values)))
        else:
            columns.append(_as(values, field.type))
    return pa.table(columns, schema=schema)


def _as(values: Any, kind: pa.DataType) -> Any:
    try:
        return values.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.array(values.to_pylist(), kind)
