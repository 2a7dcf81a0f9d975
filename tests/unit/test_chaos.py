"""The judge of ``make chaos`` condemns what it should; what it judges is in ``tests/serve/test_chaos.py``."""

import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import processes
from tests.chaos.ledger import Ledger, may_be_retried, outcome
from tests.chaos.logs import errors
from tests.chaos.processes import MORE_BYTES, MORE_FDS, MORE_THREADS, Held, back_to

HELD = Held(count=2, pid=7, memory_bytes=2**28, fds=70, threads=40, cpu=0.0)


def test_every_request_has_to_end() -> None:
    ledger = Ledger()
    for _ in range(3):
        ledger.begin("good")
    ledger.end("good", "200")
    ledger.end("good", "500", "it failed")
    assert ledger.missing() == {"good": 1}
    assert ledger.wrong == ["good: it failed"]
    assert ledger.rows() == [["good", "3", "200: 1, 500: 1"]]


@pytest.mark.parametrize(
    ("status", "retry_after", "retried"),
    [(503, "1", True), (429, "1", True), (503, None, False), (500, "1", False), (200, None, False)],
)
def test_only_who_says_when_may_refuse(status: int, retry_after: Any, retried: bool) -> None:
    assert may_be_retried(outcome(status, retry_after)) == retried


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"count": 3}, "router: 2 processes before, 3 now"),
        ({"pid": 8}, "router: process 7 is gone, which nobody killed"),
        ({"memory_bytes": 2**28 + MORE_BYTES + 1}, "router: 256 MiB before, 304 MiB now"),
        ({"fds": 71 + MORE_FDS}, "router: 70 file descriptors before, 83 now"),
        ({"threads": 41 + MORE_THREADS}, "router: 40 threads before, 47 now"),
        ({"cpu": 0.9}, "router: still takes 90% of a core"),
    ],
)
def test_what_is_still_held_is_a_leak(monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], told: str) -> None:
    now = {"router": replace(HELD, **change)}
    monkeypatch.setattr(processes, "held", lambda: now)
    assert back_to({"router": HELD}, 0.0) == (now, [told])


def test_what_is_given_back_late_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [{}, {"router": replace(HELD, fds=200)}, {"router": HELD}]
    monkeypatch.setattr(processes, "held", lambda: looks.pop(0))
    assert back_to({"router": HELD}, 60.0) == ({"router": HELD}, [])
    assert looks == []


def test_errors_in_the_logs_are_counted_by_kind(tmp_path: Path) -> None:
    lines = [
        f"ERROR 2026-11-25 18:27:29,141 pipelines_router thafj7nl {uuid.uuid4()} -- request {uuid.uuid4()} failed"
        for _ in range(2)
    ]
    (tmp_path / "replica_pipelines_router_thafj7nl.log").write_text("\n".join(["INFO ERROR is a word", *lines, "x"]))
    (tmp_path / "controller_1.log").write_text("ERROR of the controller\n")
    assert errors(tmp_path) == ["logged as an error, 2 times: pipelines_router … -- request … failed"]
