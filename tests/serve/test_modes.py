"""Bodies and answers of many megabytes pass in every mode of Serve that the documents name.

Each mode is decided by the environment of whatever starts Ray, so each has a server of its own.
"""

import json

import httpx
import pytest

from benchmarks.bodies import MODES
from benchmarks.server import project

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

SLOW = [pytest.param(mode, marks=pytest.mark.slow) for mode in MODES if mode != "default proxy, throughput"]


@pytest.mark.parametrize("mode", ["default proxy, throughput", *SLOW])
def test_large_bodies_and_answers_pass(mode: str) -> None:
    text = "words " * 2**20
    off = {name: "0" for environment in MODES.values() for name in environment}
    model = {"name": "echo", "task": "fake", "resources": {"num_cpus": 0.1}}
    with project([model], environment={**off, **MODES[mode]}) as url:
        answer = httpx.post(f"{url}/models/echo", content=json.dumps({"inputs": text}), timeout=60)
        assert answer.status_code == 200, answer.text[:300]
        assert answer.json()["echo"] == text
