"""The driver of a job: what is left to do goes over Ray Data to the workers, and is summed up."""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from deployments.errors import InferenceError
from deployments.tasks import TASKS, TaskSpec
from graph.jobs.figures import Figures
from graph.jobs.folder import agree, complete, limited, open_folder, parts
from graph.jobs.inputs import RowReader, mapped
from graph.jobs.pools import pool_options
from graph.jobs.rows import windows
from graph.jobs.served import HANDLE
from graph.jobs.settings import Engine, Job
from graph.jobs.units import Unit, plan, to_json
from graph.jobs.work import Worker, predictor_of

_DRY_ROWS = 10
_FIRST_ROWS = 100  # among which every column has to be
_TOGETHER = 2  # units of a worker at a time: while the last rows of one are answered, the next is read


def run(job: Job, address: str | None = None, shown: bool | None = None) -> Any:
    """Do what is left of ``job``.

    Args:
        job: what is done.
        address: of a Ray cluster, None to start Ray here (or to use what ``RAY_ADDRESS`` names).
        shown: whether a progress bar is drawn, None where there is a terminal.

    Returns:
        A `graph.jobs.progress.Summary`.

    Raises:
        ConfigError: something about the input, the output or the columns is wrong; nothing has run.
    """
    units = open_folder(job)
    done = complete(job, units)
    left = [unit for unit in units if unit.number not in done]
    if left:
        job = with_columns(job, units, address)

    from graph.jobs.progress import Progress, Summary, Watch

    seconds, made, total = 0.0, Figures(), Figures()
    for figures in done.values():
        total.add(Figures(figures["rows"], figures["failed"]))
    peak = answered = 0
    if left:
        _start_ray(address)
        watch = Watch(Progress.remote(), sys.stderr.isatty() if shown is None else shown)  # type: ignore[attr-defined]
        with watch.following():
            for number, figures in enumerate(_answered(job, left, watch.actor), 1):
                peak, answered = max(peak, figures.pop("peak_bytes")), answered + figures.pop("answered")
                made.add(Figures(**figures))
                watch.expect(made.rows / number * len(left))
        seconds = watch.seconds
    agree(job)
    total.add(Figures(made.rows, made.failed))
    return Summary(total.rows, total.failed, answered, seconds, made.cost, made.padded, made.unit, peak)


def _start_ray(address: str | None) -> None:
    import ray
    from ray.data import DataContext

    if not ray.is_initialized():
        # `local`: never a cluster that happens to run on this machine
        where = address or os.environ.get("RAY_ADDRESS") or "local"
        ray.init(address=where, log_to_driver=False, include_dashboard=False if where == "local" else None)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False


def _answered(job: Job, units: list[Unit], progress: Any) -> Iterator[dict[str, Any]]:
    """Figures of ``units``, each when it is complete."""
    import ray

    rows = [{"unit": json.dumps(to_json(unit))} for unit in units]
    pool = replace(job.pool, min_size=min(job.pool.min_size, len(units)), max_size=min(job.pool.max_size, len(units)))
    answers = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        Worker,
        batch_size=1,
        fn_constructor_args=(job, parts(job), progress),
        **pool_options(job.engine, pool, _TOGETHER),
    )
    try:
        for row in answers.iter_rows():
            yield json.loads(row["figures"])
    except ray.exceptions.RayError as error:
        reason = [line for line in str(error).splitlines() if line.strip()][-1:]
        raise InferenceError(f"The job ended early, and goes on when it is run again: {''.join(reason)}") from error


def with_columns(job: Job, units: list[Unit], address: str | None = None) -> Job:
    """``job`` with its input columns found among those of the first rows, before anything is loaded.

    Args:
        job: what is done.
        units: of the input.
        address: of a Ray cluster, as for `run`.

    Raises:
        ConfigError: see `graph.jobs.inputs.mapped`.
    """
    if not units:
        return job
    first = next(windows(units[0], _FIRST_ROWS), None)
    if first is None or first.files is not None:
        return job
    inputs = mapped(_spec(job.engine, address), job.columns, first.table.column_names)
    return replace(job, columns=replace(job.columns, inputs=inputs))


def _spec(engine: Engine, address: str | None) -> TaskSpec:
    """The task, which only a graph knows where none is given."""
    if engine.model.task is not None:
        return TASKS[engine.model.canonical_task]
    if engine.url == HANDLE and (address or os.environ.get("RAY_ADDRESS")):
        _start_ray(address)
    return predictor_of(engine).spec


def dry_run(job: Job) -> Iterator[dict[str, Any]]:
    """The first ten rows with their answers, made in this process; nothing is written."""
    units = limited(plan(job.inputs, job.format, job.window), _DRY_ROWS, job.window)
    job = with_columns(job, units)
    predictor = predictor_of(job.engine)
    try:
        for unit in units:
            for window in windows(unit, job.window):
                rows = RowReader(predictor.spec, job.columns, window, checked=True)
                outcomes = predictor.submit(rows, window.table.num_rows, window.broken)()
                for row, outcome in zip(window.table.to_pylist(), outcomes, strict=True):
                    failed = isinstance(outcome, Exception)
                    yield {
                        **row,
                        job.columns.prediction: None if failed else outcome,
                        job.columns.error: str(outcome) if failed else None,
                    }
    finally:
        predictor.close()
