"""Two replicas of a model on one node have its weights in memory once."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.large.models import llama
from tests.serve.cluster import ROOT

pytestmark = [pytest.mark.pipelines, pytest.mark.timeout(300)]
SIZES = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 8}  # some 130 MB


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared-pages")
    llama(folder / "small")
    llama(folder / "large", **SIZES)
    return folder


@contextmanager
def _replica(models: Path, packed: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "tests.large.shared_pages", str(models), packed]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:  # type: ignore[call-overload]
        yield process


def _told(process: "subprocess.Popen[str]") -> dict[str, int]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    found: dict[str, int] = json.loads(process.stdout.readline())
    return found


def _two(models: Path, packed: str) -> list[dict[str, Any]]:
    """What two replicas tell while both are there."""
    with ExitStack() as stack:
        replicas = [stack.enter_context(_replica(models, packed)) for _ in range(2)]
        for replica in replicas:
            assert replica.stdout is not None
            assert replica.stdout.readline() == "loaded\n"
        return [_told(replica) for replica in replicas]


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="the kernel does not tell what is shared")
def test_the_weights_are_in_memory_once(models: Path) -> None:
    told = _two(models, "mapped")
    size = told[0]["weights"]
    assert size > 100e6
    for one in told:
        assert one["all"] > 0.9 * size  # every weight was used
        assert one["private"] < 0.3 * size
    assert sum(one["share"] for one in told) < 1.6 * size


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="the kernel does not tell what is shared")
def test_packed_layers_are_a_copy_of_each_replica(models: Path) -> None:
    """As the configuration says; and proof that the other test could fail."""
    told = _two(models, "packed")
    assert all(one["private"] > 0.9 * one["weights"] for one in told)
