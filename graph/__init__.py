"""The request side: HTTP in, handle call, HTTP out; and the served twin of ``transformers.pipeline``."""

from graph.client import ServedPipeline, pipeline

__all__ = ["ServedPipeline", "pipeline"]
