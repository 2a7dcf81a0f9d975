"""What `pipeline-graph serve` prints while models load: each once, and one line at the end."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from cluster import announce
from cluster.announce import Board, watch
from deployments.progress import FOLDER, report

ROOT = Path(__file__).parents[2]
LOADING = {"state": "loading", "replicas": 0}
READY = {"state": "ready", "replicas": 1}
FAILED = {"state": "failed", "replicas": 0, "reason": "no such model"}
NAMES = ("a", "b")


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announce, "_LOOK_S", 0)


def lines(
    seen: list[Any], capsys: pytest.CaptureFixture[str], stages: dict[str, str] | None = None, live: bool = False
) -> tuple[int, list[str]]:
    """Exit status, and what was printed without the seconds."""
    states = iter(seen)
    code = watch(lambda: next(states), lambda: stages or {}, lambda: True, "http://h:1", NAMES, Board(live))
    return code, [re.sub(r"\[ *\d+\.\d s\] ", "", line) for line in capsys.readouterr().out.splitlines()]


def test_each_model_is_told_of_once_and_the_end_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    seen = [None, {}, {"a": LOADING, "b": LOADING}, {"a": READY, "b": LOADING}, {"a": READY, "b": READY}]
    assert lines(seen, capsys) == (
        0,
        ["a is ready", "b is ready", "Ready: http://h:1 serves 2 of 2 models. What there is: http://h:1/docs"],
    )


def test_a_model_that_failed_is_told_of_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    code, told = lines([{"a": LOADING, "b": FAILED}, {"a": READY, "b": FAILED}], capsys)
    assert (code, told[0]) == (1, "b failed: no such model")
    assert "1 of 2 models" in told[-1]


def test_where_no_reason_is_told_it_says_where_that_is(capsys: pytest.CaptureFixture[str]) -> None:
    hidden = {"state": "failed", "replicas": 0}
    assert lines([{"a": READY, "b": hidden}], capsys)[1][1] == "b failed: `pipeline-graph status` has the reason"


def test_it_ends_with_its_server() -> None:
    assert watch(lambda: None, dict, lambda: False, "http://h:1", NAMES, Board(False)) == 1


def test_without_a_terminal_what_loads_is_one_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = [None, {"a": READY, "b": LOADING}, {"a": READY, "b": LOADING}, {"a": READY, "b": READY}]
    stages = {"a": "weights, 40% of 10 tensors"}
    assert len(lines(seen, capsys, stages)[1]) == 3  # none yet: 30 seconds have not passed
    monkeypatch.setattr(announce, "_STILL_S", 0)
    assert lines(seen, capsys, stages)[1][:3] == [
        "loading: a (weights, 40% of 10 tensors), b (starting)",
        "a is ready",
        "loading: b (starting)",
    ]


def test_on_a_terminal_each_model_that_loads_has_a_line_that_is_written_over(
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen = [{"a": LOADING, "b": LOADING}, {"a": READY, "b": LOADING}, {"a": READY, "b": READY}]
    _, told = lines(seen, capsys, {"b": "first answers"}, live=True)
    assert told == [
        "a: starting",
        "b: first answers",
        "\x1b[2A\x1b[Ja is ready",
        "b: first answers",
        "\x1b[1A\x1b[Jb is ready",
        "Ready: http://h:1 serves 2 of 2 models. What there is: http://h:1/docs",
    ]


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (("download", 300_000_000, 1_200_000_000), "downloading, 25% of 1.20 GB"),
        (("download", 300_000_000), "downloading, 0.30 GB so far"),
        (("weights", 68, 272), "weights, 25% of 272 tensors"),
        (("weights",), "weights"),
        (("check",), "first answers"),
    ],
)
def test_what_a_replica_reports_is_put_into_words(
    told: Any, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    report("a", *told)
    (tmp_path / "1.json").write_text("no JSON")
    assert announce._read(str(tmp_path)) == {"a": words}
    assert announce._read(str(tmp_path / "none")) == {}


@pytest.fixture
def server() -> Iterator[str]:
    answers = [(503, {"ready": False, "models": {"a": LOADING}}), (200, {"ready": True, "models": {"a": READY}})]

    class Ready(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers.pop(0) if len(answers) > 1 else answers[0]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: Any) -> None: ...

    running = HTTPServer(("127.0.0.1", 0), Ready)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()


def test_as_a_process_it_asks_the_server_and_leaves_nothing_behind(server: str, tmp_path: Path) -> None:
    folder = tmp_path / "progress"
    folder.mkdir()
    command = [sys.executable, "-m", "cluster.announce", server, str(folder), "a"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True, env={**os.environ})
    assert f"Ready: {server} serves 1 of 1 models" in done.stdout
    assert done.stderr == ""
    assert not folder.exists()
