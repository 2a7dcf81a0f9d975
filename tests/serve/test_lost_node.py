"""Promise 5 where a whole node goes, in a Ray cluster of several logical nodes and a process of its own."""

import json
import subprocess
import sys

import pytest

from tests.serve.cluster import ROOT
from tests.serve.lost_node import COUNT

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(500)]


def test_a_killed_node_loses_nothing_and_its_replicas_come_back_elsewhere() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.serve.lost_node"], cwd=ROOT, capture_output=True, text=True, timeout=480
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert found["killed"] not in found["router"]
    assert len(set(found["after"])) == len(set(found["before"])) == 2
    assert found["killed"] not in found["after"]
    assert found["sent"] == sum(found["answers"].values()) == COUNT
    assert found["answers"] == {"200": COUNT}
