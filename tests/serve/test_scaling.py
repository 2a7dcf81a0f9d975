"""Replicas follow the load on a real server, down to none and up again. Conditions are awaited; no time decides."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from graph import pipeline
from tests.serve.cluster import deploy, until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

QUICK = {"upscale_delay_s": 0.5, "downscale_delay_s": 1}


def fake(name: str, **more: Any) -> dict[str, Any]:
    """Each test has a name of its own, so that none meets the replicas of another."""
    return {"name": name, "task": "fake", "resources": {"num_cpus": 0.1}, **more}


def replicas(url: str, name: str) -> int:
    body = httpx.get(f"{url}/ready", timeout=30).json()
    return int(body["models"][name]["replicas"])


@contextmanager
def load(url: str, name: str, at_a_time: int) -> Iterator[None]:
    """So many requests at any time, each answered, until the block ends."""
    ended, failed = threading.Event(), []

    async def one(client: httpx.AsyncClient, number: int) -> None:
        while not ended.is_set():
            answer = await client.post(f"{url}/models/{name}", json={"inputs": f"text {number}"})
            if answer.status_code != 200:
                failed.append(answer.text)

    async def main() -> None:
        async with httpx.AsyncClient(timeout=120, limits=httpx.Limits(max_connections=None)) as client:
            await asyncio.gather(*(one(client, number) for number in range(at_a_time)))

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(120)
    assert failed == []


def test_replicas_follow_the_number_of_requests_up_and_down(url: str) -> None:
    scale = {"min_replicas": 1, "max_replicas": 3, "target_ongoing_requests": 2, "target_wait_s": 1000, **QUICK}
    deploy(url, {"models": [fake("many", init={"forward_s": 0.2}, scale=scale)]})
    with load(url, "many", 6):
        until(lambda: replicas(url, "many") == 3)
    until(lambda: replicas(url, "many") == 1)


def test_replicas_follow_the_work_where_requests_are_few(url: str) -> None:
    """Six requests are far from a thousand, but each takes half a second of the model."""
    scale = {"min_replicas": 1, "max_replicas": 2, "target_ongoing_requests": 1000, "target_wait_s": 0.5, **QUICK}
    deploy(url, {"models": [fake("heavy", init={"forward_s": 0.5}, scale=scale, batch={"max_items": 1})]})
    with load(url, "heavy", 6):
        until(lambda: replicas(url, "heavy") == 2)
    until(lambda: replicas(url, "heavy") == 1)


def test_a_model_that_sleeps_is_woken_by_its_first_caller(url: str) -> None:
    deploy(url, {"models": [fake("asleep", scale={"min_replicas": 0, "max_replicas": 1, **QUICK})]})
    until(lambda: httpx.get(f"{url}/ready", timeout=30).json()["models"]["asleep"]["state"] == "asleep")
    for path in ("ready", "models/asleep/health"):  # it answers whoever asks, if not at once
        assert httpx.get(f"{url}/{path}", timeout=30).status_code == 200
    refused = httpx.post(f"{url}/models/asleep", json={"inputs": "x"}, timeout=60)
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= refused.json()["estimated_time"] > 0
    until(lambda: httpx.post(f"{url}/models/asleep", json={"inputs": "x"}, timeout=60).status_code == 200)


def test_who_waits_is_answered_when_the_model_is_up(url: str) -> None:
    deploy(url, {"models": [fake("patient", scale={"min_replicas": 0, "max_replicas": 1, **QUICK})]})
    until(lambda: replicas(url, "patient") == 0)
    sent = {"x-wait-for-model": "true"}
    answer = httpx.post(f"{url}/models/patient", json={"inputs": "patient"}, headers=sent, timeout=120)
    assert (answer.status_code, answer.json()["echo"]) == (200, "patient")
    until(lambda: replicas(url, "patient") == 0)
    assert pipeline("patient", url=url)("twin")["echo"] == "twin"
