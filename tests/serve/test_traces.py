"""Traces of a real server, sent over OTLP to a collector of this test: one trace from proxy to the model's stages."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.serve.cluster import ROOT, free_port, until
from tests.serve.served import case_of, served

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

TRACE, STREAM, PARENT = "0af7651916cd43dd8448eb211c80319c", "c91308c112be8448dd34dc619157fa01", "b7ad6b7169203331"
STAGES = ("queue", "preprocess", "forward", "postprocess")


@pytest.fixture(scope="module")
def spans() -> Iterator[tuple[str, list[Any]]]:
    """A collector: its address, and the spans that came."""
    came: list[Any] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            message = ExportTraceServiceRequest()
            message.ParseFromString(self.rfile.read(int(self.headers["content-length"])))
            came.extend(span for each in message.resource_spans for scope in each.scope_spans for span in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", came
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def traced(spans: tuple[str, list[Any]], checkpoints: Path) -> Iterator[str]:
    port = free_port()
    models = [
        {"name": "echo", "task": "fake", "resources": {"num_cpus": 0.1}},
        served(case_of("text-generation-llama"), checkpoints, name="write"),
    ]
    environment = {
        **os.environ,
        "RAY_SERVE_TRACING_EXPORTER_IMPORT_PATH": "deployments.traces:otlp",
        "RAY_SERVE_TRACING_SAMPLING_RATIO": "0",  # only whom a caller samples
        "OTEL_EXPORTER_OTLP_ENDPOINT": spans[0],
        "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "tests.serve.traced", str(port), json.dumps(models)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=environment, **pipes) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        lines = iter(server.stdout.readline, "")
        assert any(line.strip() == "ready" for line in lines), "the server did not start"
        yield f"http://127.0.0.1:{port}"
        server.stdin.close()


def test_a_callers_trace_goes_through_to_the_stages_of_the_model(traced: str, spans: tuple[str, list[Any]]) -> None:
    sent = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    secret = {"inputs": "the words of a caller"}
    assert httpx.post(f"{traced}/models/echo", json=secret, headers=sent, timeout=60).status_code == 200
    assert httpx.post(f"{traced}/models/echo", json=secret, timeout=60).status_code == 200  # not sampled
    came = spans_of(TRACE, "echo", spans[1])
    assert {span.trace_id.hex() for span in spans[1]} <= {TRACE, STREAM}
    attributes = {each.key: each.value for each in forward_of(came).attributes}
    assert attributes["pipeline_graph.batch_size"].int_value == 1
    assert "the words of a caller" not in "".join(map(str, came))


def test_a_stream_has_the_stages_too(traced: str, spans: tuple[str, list[Any]]) -> None:
    sent = {"traceparent": f"00-{STREAM}-{PARENT}-01"}
    body = {"inputs": "the words of a caller", "parameters": {"max_new_tokens": 3}, "stream": True}
    assert httpx.post(f"{traced}/models/write", json=body, headers=sent, timeout=60).status_code == 200
    assert "the words of a caller" not in "".join(map(str, spans_of(STREAM, "write", spans[1])))


def spans_of(trace: str, model: str, came: list[Any]) -> list[Any]:
    """The spans of a trace, once all are there: from the caller's own down to the stages of the model."""

    def found() -> list[Any]:
        return [span for span in list(came) if span.trace_id.hex() == trace]

    try:  # each process sends its own, when its own time has come
        until(lambda: {span.name for span in found()} >= set(STAGES))
        until(lambda: above(forward_of(found()), found())[-1].parent_span_id.hex() == PARENT)
    except AssertionError:
        pytest.fail(f"only these came: {[(span.name, span.trace_id.hex()) for span in came]}")
    attributes = {each.key: each.value for each in forward_of(found()).attributes}
    assert attributes["pipeline_graph.model"].string_value == model
    assert len(above(forward_of(found()), found())) > 2  # the router and the replica at least
    return found()


def forward_of(came: list[Any]) -> Any:
    (forward,) = (span for span in came if span.name == "forward")
    return forward


def above(span: Any, came: list[Any]) -> list[Any]:
    """A span and those that it lies in, up to the last that came."""
    ids = {each.span_id: each for each in list(came)}
    chain = [span]
    while chain[-1].parent_span_id in ids:
        chain.append(ids[chain[-1].parent_span_id])
    return chain
