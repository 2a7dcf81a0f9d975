"""The command ``pipeline-graph plan --cluster`` against a cluster that somebody else has started."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.serve.cluster import ROOT

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]
Take = Callable[[], None]


@pytest.fixture(scope="module")
def nodes() -> Iterator[tuple[str, Take]]:
    """Its address: a head of 2 CPUs, a node of 2 L4 and one of a T4, with 2 CPUs each; and what takes a GPU of it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.large.nodes"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    given, told = process.stdin, process.stdout

    def take() -> None:
        given.write("\n")
        given.flush()
        assert told.readline() == "taken\n"

    try:
        yield told.readline().strip(), take
    finally:
        given.close()
        process.wait(60)
        told.close()


def _plan(target: str, address: str, *more: str) -> tuple[int, list[str], str]:
    """Exit status, the lines about the cluster, and what went to standard error."""
    command = [sys.executable, "-m", "cluster.cli", "plan", target, "--cluster", "--address", address, *more]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120)
    lines = done.stdout.splitlines()
    first = next((index for index, line in enumerate(lines) if line.startswith("Ray cluster")), len(lines))
    return done.returncode, lines[first:], done.stderr


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., str]:
    def write(*models: dict[str, Any]) -> str:
        args = {"models": [{"task": "fake", **model} for model in models]}
        application = {"name": "p", "route_prefix": "/", "import_path": "graph.app:build", "args": args}
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump({"applications": [application]}))
        return str(path)

    return write


def model(name: str, gpus: float, replicas: int = 1, cpus: float = 0.5) -> dict[str, Any]:
    resources = {"num_cpus": cpus, "num_gpus": gpus}
    return {"name": name, "resources": resources, "scale": {"min_replicas": replicas}}


def test_what_is_free_and_what_would_wait(nodes: tuple[str, Take], file: Callable[..., str]) -> None:
    address, take = nodes
    fits = file(model("pair", 2), model("one", 1))
    status, lines, errors = _plan(fits, address)
    assert (status, errors) == (0, "")
    assert lines[0] == "Ray cluster of 3 nodes, free now:"
    assert len(lines) == 5
    free = sorted(line.partition(": ")[2].rpartition(", ")[0] for line in lines[1:4])
    assert free == ["2 CPUs, 0 of 0 GPUs", "2 CPUs, 1 of 1 GPUs (T4)", "2 CPUs, 2 of 2 GPUs (L4)"]
    assert lines[4] == "  everything would start at once"

    status, lines, errors = _plan(
        file(model("four", 4), model("pair", 2), model("many", 0, replicas=6, cpus=1)), address
    )
    assert (status, errors) == (1, "")
    assert lines[4:] == [
        "  four: 1 replica would wait: 4 GPUs on one node are wanted, and the largest node has 2",
        "  many: 1 replica would wait: no node has 1 CPUs free beside the other replicas",
    ]

    take()  # wherever it was, one of the two no longer finds room
    status, lines, errors = _plan(file(model("pair", 2), model("one", 1)), address)
    assert (status, errors) == (1, "")
    assert len(lines) == 5, lines
    late = lines[4]
    assert late.strip() in (
        "pair: 1 replica would wait: no node has 2 GPUs and 0.5 CPUs free beside the other replicas",
        "one: 1 replica would wait: no node has 1 GPUs and 0.5 CPUs free beside the other replicas",
    )


def test_a_map_is_planned_for_the_smallest_gpu_of_the_cluster(
    nodes: tuple[str, Take], language_model: Path, tmp_path: Path
) -> None:
    args = {"models": [{"name": "spread", "model": str(language_model), "device_map": "auto"}]}
    application = {"name": "p", "route_prefix": "/", "import_path": "graph.app:build", "args": args}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"applications": [application]}))
    status, lines, _ = _plan(str(path), nodes[0])
    assert (status, lines[-1]) == (0, "  everything would start at once")  # one GPU is left, and one is enough


def test_a_cluster_that_is_not_there_is_told(file: Callable[..., str]) -> None:
    status, lines, errors = _plan(file(model("one", 1)), "127.0.0.1:1")
    assert (status, lines) == (2, [])
    assert "does not answer" in errors
    assert "Traceback" not in errors
