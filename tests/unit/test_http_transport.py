"""The served twin over HTTP against a small server that answers as it is told: lost proxies, forks, broken items."""

import json
import os
import pickle
import signal
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from deployments.errors import (
    InvalidInputError,
    ModelUnavailableError,
    OverloadedError,
    PipelineGraphError,
    ReplicaLostError,
    UnknownModelError,
)
from graph import passes, pipeline
from graph.portal import portal

ANSWER = [{"label": "good", "score": 0.5}]


class Server(ThreadingHTTPServer):
    """Answers calls of the model ``m`` with the next of `told`, else well."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.told: list[tuple[int, str, bytes]] = []
        self.health: tuple[int, str, bytes] = (200, "application/json", b'{"state": "ready"}')
        self.asked: list[Any] = []
        self.callers: set[tuple[str, int]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        if self.path.startswith("/resolve"):
            found = {"name": "m", "task": "text-classification", "defaults": {}}
            self._answer(200, "application/json", json.dumps(found).encode())
        else:
            self._answer(*self.server.health)

    def do_POST(self) -> None:
        inputs = json.loads(self.rfile.read(int(self.headers["content-length"])))["inputs"]
        self.server.asked.append(inputs)
        self.server.callers.add(self.client_address)
        if self.server.told:
            self._answer(*self.server.told.pop(0))
        else:
            answer = [ANSWER[0]] * len(inputs) if isinstance(inputs, list) else ANSWER
            self._answer(200, "application/json", json.dumps(answer).encode())

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "_FIRST_RETRY_S", 0.01)


FOREIGN = [
    (404, ModelUnavailableError),
    (429, OverloadedError),
    (500, ReplicaLostError),
    (502, ReplicaLostError),
    (503, ModelUnavailableError),
    (504, ReplicaLostError),
]


@pytest.mark.parametrize(("status", "kind"), FOREIGN)
@pytest.mark.parametrize("body", [b"Internal Server Error", b"<html>", b'{"detail": "Not Found"}', b"[]", b""])
def test_what_a_proxy_answers_by_itself_is_tried_again(
    server: Server, status: int, kind: type[PipelineGraphError], body: bytes
) -> None:
    classify = pipeline("text-classification", url=server.url)
    server.told = [(status, "text/plain", body)] * 2
    server.health = (status, "text/plain", body)  # nor is a model failed whose health it does not know
    assert list(classify(iter(["a", "b", "c"]))) == [ANSWER[0]] * 3
    assert server.told == []
    server.told = [(status, "text/plain", body)]
    with pytest.raises(kind, match=str(status)) as raised:
        classify("a")
    assert type(raised.value) is kind


def test_a_model_that_the_graph_does_not_know_is_not_asked_for_again(server: Server) -> None:
    classify = pipeline("text-classification", url=server.url)
    body = json.dumps({"error": "There is no such model.", "error_type": "unknown_model", "request_id": "1"}).encode()
    server.told = [(404, "application/json", body)] * 2
    with pytest.raises(UnknownModelError, match="no such model"):
        next(iter(classify(iter(["a"]))))
    assert len(server.asked) == 1
    server.health = (404, "application/json", body)
    assert portal().wait(classify._transport.is_failed("m"))
    server.health = (503, "application/json", b'{"state": "failed"}')
    assert portal().wait(classify._transport.is_failed("m"))


def test_an_item_that_has_no_form_in_json_fails_alone(server: Server) -> None:
    transport = pipeline("text-classification", url=server.url)._transport
    found = portal().wait(transport.infer("m", ["a", object(), "b"], {}, True))
    assert [type(outcome) for outcome in found] == [list, TypeError, list]
    assert server.asked == ["a", "b"]


def test_a_served_pipeline_travels_between_processes(server: Server) -> None:
    classify = pipeline("text-classification", url=server.url, top_k=1)
    there = pickle.loads(pickle.dumps(classify))
    assert there("a") == classify("a") == ANSWER
    assert (there.name, there.task, there.defaults) == (classify.name, classify.task, classify.defaults)


def test_a_forked_child_has_connections_of_its_own(server: Server) -> None:
    classify = pipeline("text-classification", url=server.url)
    assert classify("a") == ANSWER
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if [classify("b") for _ in range(3)] == [ANSWER] * 3 else 2
        finally:
            os._exit(status)
    assert _status_of(child) == 0
    assert classify("c") == ANSWER
    assert server.asked == ["a", "b", "b", "b", "c"]
    assert len(server.callers) == 2


def _status_of(child: int) -> int:
    """How ``child`` ended, within a minute."""
    deadline_s = time.monotonic() + 60
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline_s:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.01)


def test_a_wrong_input_is_told_when_a_stream_is_asked_for(server: Server) -> None:
    classify = pipeline("text-classification", url=server.url)
    with pytest.raises(PipelineGraphError, match="stream"):
        classify("a", stream=True)
    with pytest.raises(InvalidInputError):
        classify(7)
