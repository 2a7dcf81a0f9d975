"""Kills replicas, never the last of a model, nor the oldest: that one is watched for leaks."""

import asyncio
import random
import signal
from collections.abc import Callable

import httpx

from tests.chaos.processes import by_kind

_NOT_REPLICAS = ("router", "proxy", "proxy's manager", "haproxy", "controller")


async def killer(
    client: httpx.AsyncClient, every_s: float, chance: random.Random, over: Callable[[], bool], killed: list[str]
) -> None:
    """Kill a replica every ``every_s`` seconds or so, of a model that has two, until it is over.

    Args:
        client: asks the server what it has.
        every_s: mean time between two.
        chance: picks.
        over: whether to stop.
        killed: is told the models.
    """
    while not over():
        await asyncio.sleep(chance.uniform(0.5, 1.5) * every_s)
        ready = await _with_two(client)
        found = await asyncio.to_thread(by_kind)
        models = [kind for kind, processes in found.items() if kind in ready and len(processes) > 1]
        if models and not over():
            model = chance.choice(sorted(models))
            found[model][-1].send_signal(signal.SIGKILL)
            killed.append(model)


async def _with_two(client: httpx.AsyncClient) -> set[str]:
    """Models with all their replicas running."""
    body = (await client.get("/ready")).json()
    return {name for name, state in body["models"].items() if state["replicas"] > 1}
