"""`map_dataset`: a model over a Ray Dataset."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from deployments.config import ModelConfig
from graph.jobs.columns import with_outcomes
from graph.jobs.inputs import RowReader
from graph.jobs.pools import pool_options
from graph.jobs.rows import Window
from graph.jobs.settings import Columns, Engine, Pool
from graph.jobs.work import end_if_unwell, worker_predictor


def map_dataset(
    dataset: Any,
    task: str | None = None,
    model: str | None = None,
    *,
    column: str | Mapping[str, str] | None = None,
    parameters: Mapping[str, Any] | None = None,
    parameter_columns: Mapping[str, str] | None = None,
    prediction_column: str = "prediction",
    error_column: str = "error",
    replicas: int | tuple[int, int] = 1,
    window: int = 1024,
    url: str | None = None,
    timeout_s: float = 300.0,
    **config: Any,
) -> Any:
    """A Ray Dataset with the rows of ``dataset``, and what a model answers to each.

    Args:
        dataset: a ``ray.data.Dataset``.
        task: as in ``pipeline()``; it may be left out where there is a model.
        model: as in the configuration of a graph.
        column: of the input, or the columns of its parts by name; default: guessed from the task.
        parameters: of every call.
        parameter_columns: call parameter → column with its value for each row.
        prediction_column: name of the column of answers.
        error_column: name of the column of errors, null where a row was answered.
        replicas: workers, or least and most of them (default 1).
        window: rows that are planned together (>=1, default 1024).
        url: of a running graph that answers instead, ``handle`` for the one in this Ray cluster.
        timeout_s: of one row on a running graph (>0).
        config: further keys of the model's configuration, such as ``resources={"num_gpus": 1}``.

    Returns:
        A lazy ``ray.data.Dataset``; one bad row never fails it.

    Raises:
        ConfigError: the model's task cannot be inferred, or a default parameter is wrong.
    """
    low, high = (replicas, replicas) if isinstance(replicas, int) else replicas
    engine = Engine(_resolved(task, model, url, config), dict(parameters or {}), url, timeout_s)
    columns = Columns(column, dict(parameter_columns or {}), prediction_column, error_column)
    return dataset.map_batches(
        TableMapper,
        batch_size=window,
        batch_format="pyarrow",
        fn_constructor_args=(engine, columns),
        **pool_options(engine, Pool(low, high), 2),
    )


def _resolved(task: str | None, model: str | None, url: str | None, config: Mapping[str, Any]) -> ModelConfig:
    made = ModelConfig.model_validate({"task": task, "model": model, **config})
    if url is not None:
        return made
    from graph.config import GraphConfig
    from graph.resolve import resolve

    return resolve(GraphConfig(models=[made])).models[0]


class TableMapper:
    """Answers the rows of tables; Ray Data makes an actor of it.

    Args:
        engine: what answers.
        columns: of the rows.
    """

    def __init__(self, engine: Engine, columns: Columns) -> None:
        self._predictor = worker_predictor(engine)
        self._columns = columns

    def __call__(self, table: pa.Table) -> pa.Table:
        """``table`` with the columns of answers and errors."""
        window = Window(0, table)
        rows = RowReader(self._predictor.spec, self._columns, window)
        outcomes = self._predictor.submit(rows, table.num_rows, window.broken)()
        end_if_unwell(self._predictor)
        return with_outcomes(table, outcomes, self._columns.prediction, self._columns.error)
