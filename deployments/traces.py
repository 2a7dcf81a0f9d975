"""OpenTelemetry: where Ray Serve's spans go, and a span for each stage of a request in a replica.

Ray Serve itself makes the spans of proxy, router and replica and hands W3C's trace context from one to the next, once
its environment variables turn that on. Without them, nothing here costs more than one look.
"""

import time
from typing import Any

from opentelemetry import trace

from deployments.work import Done

_STAGES = ("queue", "preprocess", "forward", "postprocess")


def otlp() -> list[Any]:
    """Span processors that send to the OTLP endpoint of the standard environment variables.

    For ``RAY_SERVE_TRACING_EXPORTER_IMPORT_PATH=deployments.traces:otlp``.

    Raises:
        ImportError: the exporter is not installed; says how to.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        raise ImportError("Traces need the exporter: pip install 'pipeline-graph[traces]'") from None
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    return [BatchSpanProcessor(OTLPSpanExporter())]


def record_stages(done: Done, model: str) -> None:
    """Spans of the stages that a request just passed, under the span that is current; nothing where none is.

    Stages of different requests interleave; what is known of each is how long it took, so they stand one after another
    and end now.
    """
    if not trace.get_current_span().is_recording():
        return
    tracer = trace.get_tracer("pipeline_graph")
    lengths_ns = [int(seconds * 1e9) for seconds in done.stages_s]
    at_ns = time.time_ns() - sum(lengths_ns)
    for stage, length_ns in zip(_STAGES, lengths_ns, strict=True):
        attributes: dict[str, Any] = {"pipeline_graph.model": model}
        if stage == "forward":
            attributes["pipeline_graph.batch_size"] = done.batch_size
            attributes["pipeline_graph.padding_waste"] = done.padding_waste
        span = tracer.start_span(stage, start_time=at_ns, attributes=attributes)
        at_ns += length_ns
        span.end(end_time=at_ns)
