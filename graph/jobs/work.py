"""What runs on the workers of a job: units of the input → files of the output, one for each window of rows.

A file is named after its unit and window, and appears when it is complete. So a window that is there is done, one that
is written again replaces itself, and whatever is killed, each row ends up in the output once.
"""

import json
import logging
import os
import resource
from collections import deque
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from graph.jobs.answering import Predictor
from graph.jobs.columns import jsonl, parquet, with_outcomes
from graph.jobs.figures import Figures
from graph.jobs.inputs import RowReader
from graph.jobs.places import Place, names_in, place, read, write
from graph.jobs.predict import LocalPredictor
from graph.jobs.rows import Window, windows
from graph.jobs.served import ServedPredictor
from graph.jobs.settings import Engine, Job
from graph.jobs.units import Unit, from_json

logger = logging.getLogger("pipeline_graph.jobs")

_OPEN = 2  # windows of a unit in hand: while one is written, the next is answered


def predictor_of(engine: Engine) -> Predictor:
    """What answers, loaded or connected to."""
    if engine.url is not None:
        return ServedPredictor(engine.model, engine.parameters, engine.url, engine.timeout_s)
    return LocalPredictor(engine.model, engine.parameters)


def worker_predictor(engine: Engine) -> Predictor:
    """The same in a worker, with as many threads as it has processors."""
    if engine.url is None:
        import torch

        torch.set_num_threads(max(1, int(engine.model.resources.num_cpus)))
    return predictor_of(engine)


def end_if_unwell(predictor: Predictor) -> None:
    """End this process if its device is lost: nothing of its rows is written, and Ray begins them with another."""
    if (reason := predictor.unwell()) is not None:
        logger.error("this worker ends, and another one goes on: %s", reason)
        os._exit(1)


def part_name(job: Job, unit: int, window: int) -> str:
    """Name of an output file."""
    index, count = job.shard
    shard = f"-{index}-of-{count}" if count > 1 else ""
    return f"part-{unit:05}-{window:05}{shard}.{job.output_format}"


def done_name(job: Job, unit: int) -> str:
    """Name of the file that tells that a unit is complete."""
    index, count = job.shard
    return f"_done-{unit:05}-{index}-of-{count}.json"


class Worker:
    """Answers the rows of units; Ray Data makes an actor of it, and calls it on two threads.

    Args:
        job: what is done.
        before: output files that were there when the run began.
        progress: actor that is told of each window (`graph.jobs.progress.Progress`), or None.
    """

    def __init__(self, job: Job, before: frozenset[str], progress: Any = None) -> None:
        self._job = job
        self._before = before
        self._progress = progress
        self._output = place(job.output)
        self._there = frozenset(names_in(self._output))
        self._predictor = worker_predictor(job.engine)
        if progress is not None:
            self._told(progress.ready.remote())

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Answer the units in ``batch["unit"]``, as JSON; gives their figures, as JSON too."""
        return {"figures": [json.dumps(self._unit(from_json(json.loads(text)))) for text in batch["unit"]]}

    @staticmethod
    def _told(reference: Any) -> None:
        """Wait until it has arrived, so that the last window is counted in the summary."""
        import ray

        ray.get(reference)

    def _unit(self, unit: Unit) -> dict[str, Any]:
        figures, before = Figures(), Figures()
        waiting: deque[tuple[Window, Callable[[], list[Any]]]] = deque()
        for window in windows(unit, self._job.window, self._job.shard):
            name = part_name(self._job, unit.number, window.number)
            if name in self._there:
                # written before this run, or in it by a worker that was lost
                written = before if name in self._before else figures
                written.add(counted(self._output.child(name), self._job.columns.error))
                continue
            rows = RowReader(self._predictor.spec, self._job.columns, window, checked=True)
            waiting.append((window, self._predictor.submit(rows, window.table.num_rows, window.broken)))
            if len(waiting) >= _OPEN:
                figures.add(self._write(unit, *waiting.popleft()))
        while waiting:
            figures.add(self._write(unit, *waiting.popleft()))
        answered = figures.rows
        figures.add(before)
        peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        content = {**vars(figures), "answered": answered, "peak_bytes": peak_bytes}
        write(self._output.child(done_name(self._job, unit.number)), json.dumps(content).encode())
        return content

    def _write(self, unit: Unit, window: Window, wait: Callable[[], list[Any]]) -> Figures:
        """Write the file of a window, once its rows are answered."""
        outcomes = wait()
        end_if_unwell(self._predictor)
        columns = self._job.columns
        table = with_outcomes(window.table, outcomes, columns.prediction, columns.error)
        figures = self._predictor.figures()
        figures.rows, figures.failed = table.num_rows, table.num_rows - table.column(columns.error).null_count
        if table.num_rows:
            name = part_name(self._job, unit.number, window.number)
            write(self._output.child(name), encoded(table, self._job.output_format))
        if self._progress is not None:
            self._told(self._progress.add.remote(figures))
        return figures


def encoded(table: pa.Table, form: str) -> Any:
    """A table as a file."""
    return jsonl(table) if form == "jsonl" else parquet(table)


def counted(where: Place, error: str) -> Figures:
    """Rows of a file that was written before, and those of them that failed."""
    if where.path.endswith(".jsonl"):
        errors = [json.loads(line).get(error) for line in read(where).splitlines()]
        return Figures(len(errors), sum(said is not None for said in errors))
    with where.fs.open_input_file(where.path) as file:
        column = pq.read_table(file, columns=[error]).column(0)
    return Figures(len(column), len(column) - column.null_count)
