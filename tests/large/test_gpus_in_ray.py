"""Which replica gets which GPU, in a real Ray cluster with logical GPUs, in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.serve.cluster import ROOT

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def found(language_model: Path) -> dict[str, Any]:
    """What `tests.large.ray_gpus` saw."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.large.ray_gpus", str(language_model)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=580,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def test_two_replicas_of_one_gpu_each_have_different_ones(found: dict[str, Any]) -> None:
    assert found["two replicas of one"] == [["0"], ["1"]]


def test_a_replica_of_two_gpus_waits_until_both_are_free(found: dict[str, Any]) -> None:
    (group,) = found["waiting"]
    assert (group["strategy"], group["state"]) == ("STRICT_PACK", "PENDING")
    assert group["bundles"] == [{"CPU": 0.1, "GPU": 2.0}]
    assert "RUNNING" not in found["states while waiting"]
    assert found["both"] == [["0", "1"]]
    assert [group["state"] for group in found["placed"]] == ["CREATED"]


def test_fractions_share_a_gpu_and_leave_the_other(found: dict[str, Any]) -> None:
    assert found["half"] == found["other half"]
    assert sorted(found["half"] + found["whole"]) == [["0"], ["1"]]


def test_what_is_left_of_each_gpu_is_told_and_not_the_sum(found: dict[str, Any]) -> None:
    assert found["mostly"] == [["0"], ["1"]]
    assert found["left"] == pytest.approx([0.4, 0.4])
    assert found["told of parts"] == [
        "  half: 1 replica would wait: no node has 0.5 GPUs and 0.1 CPUs free beside the other replicas"
    ]


def test_gpus_that_a_device_names_are_reserved_and_none_otherwise(found: dict[str, Any]) -> None:
    assert found["named"] == [["0", "1"]]
    assert found["none"] == [[]]


def test_gpus_are_planned_for_a_map_that_accelerate_makes(found: dict[str, Any]) -> None:
    assert len(found["planned"]["gpus"]) == 1


def test_a_replica_tells_what_its_model_takes(found: dict[str, Any]) -> None:
    assert found["small"]["quantization"] == "8bit"
    assert 0 < found["small"]["weight_bytes"] < found["planned"]["weight_bytes"]
    assert found["small"]["load_seconds"] > 0
    assert found["small"]["gpus"] == []


def test_what_would_wait_is_told_from_what_is_free(found: dict[str, Any]) -> None:
    assert found["free"] == [[0.0, 1.0]]  # the planned model holds the other
    assert found["told"] == [
        "  late: 2 replicas would wait: no node has 2 GPUs and 0.1 CPUs free beside the other replicas"
    ]
