"""What a job is told: frozen dataclasses that travel to its workers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from deployments.config import ModelConfig

WINDOW_BYTES = 64 * 2**20  # a window that has as many has no more rows
OutputFormat = Literal["parquet", "jsonl"]


@dataclass(frozen=True)
class Columns:
    """Which columns of a row are its input, and how the new ones are called.

    Args:
        inputs: the input's column, a mapping of the input's parts to columns, or None for what can be guessed.
        parameters: call parameter → column that has its value for each row; a null leaves the default.
        prediction, error: names of the new columns.
    """

    inputs: str | Mapping[str, str] | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    prediction: str = "prediction"
    error: str = "error"


@dataclass(frozen=True)
class Engine:
    """What answers the rows: own replicas of a model, or a running graph.

    Args:
        model: configuration of the model, as in ``serve_config.yaml``; with `url`, only its task or name is used.
        parameters: of every call.
        url: address of a running graph; ``handle`` for the application in this Ray cluster; None for own replicas.
        timeout_s: of one row on a running graph (>0).
    """

    model: ModelConfig
    parameters: Mapping[str, Any] = field(default_factory=dict)
    url: str | None = None
    timeout_s: float = 300.0


@dataclass(frozen=True)
class Pool:
    """The workers.

    Args:
        min_size: workers at first and at least (>=1).
        max_size: workers at most (>= `min_size`); Ray Data adds them while rows wait.
    """

    min_size: int = 1
    max_size: int = 1


@dataclass(frozen=True)
class Job:
    """One run of ``pipeline-graph batch``.

    Args:
        inputs: paths or URLs of files and folders, or patterns with ``*``.
        output: path or URL of a folder.
        engine: what answers.
        columns: of the rows.
        pool: the workers.
        format: of the input, None to tell by the names.
        output_format: of the output.
        window: rows that are planned, and written, together (>=1); fewer where they are large, see `WINDOW_BYTES`.
        limit: only so many rows (>=1), None for all.
        shard: ``(index, count)``: only every ``count``-th row, from ``index`` on.
    """

    inputs: tuple[str, ...]
    output: str
    engine: Engine
    columns: Columns = Columns()
    pool: Pool = Pool()
    format: str | None = None
    output_format: OutputFormat = "parquet"
    window: int = 1024
    limit: int | None = None
    shard: tuple[int, int] = (0, 1)

    def identity(self) -> dict[str, Any]:
        """All that the output depends on; a folder holds the output of one such job."""
        model = self.engine.model.model_dump(mode="json", exclude={"scale", "resources", "batch", "warm_up", "cache"})
        columns = self.columns
        return {
            "inputs": list(self.inputs),
            "model": model,
            "graph": self.engine.url is not None,
            "parameters": dict(self.engine.parameters),
            "columns": {
                "inputs": dict(columns.inputs) if isinstance(columns.inputs, Mapping) else columns.inputs,
                "parameters": dict(columns.parameters),
                "prediction": columns.prediction,
                "error": columns.error,
            },
            "format": self.format,
            "output_format": self.output_format,
            "window": self.window,
            "window_bytes": WINDOW_BYTES,
            "limit": self.limit,
            "shards": self.shard[1],
        }
