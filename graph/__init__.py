"""The request side: HTTP in, handle call, HTTP out; the served twin of ``transformers.pipeline``; jobs over data."""

from typing import Any

from graph.answers import Answers
from graph.client import AsyncServedPipeline, ServedPipeline, async_pipeline, pipeline


def __getattr__(name: str) -> Any:
    """`graph.jobs.dataset.map_dataset`, which needs the packages of jobs."""
    if name == "map_dataset":
        from graph.jobs.dataset import map_dataset

        return map_dataset
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["Answers", "AsyncServedPipeline", "ServedPipeline", "async_pipeline", "map_dataset", "pipeline"]
