"""One run: the server, the clients, the kills, and what is shown of it."""

import asyncio
import random
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from benchmarks.server import project
from tests.chaos import logs, processes
from tests.chaos.bad import Bad, bad_client, bads
from tests.chaos.good import Good, good_client, insist, references
from tests.chaos.kill import killer
from tests.chaos.ledger import Ledger
from tests.chaos.processes import Held
from tests.chaos.rude import RUDE, rude_client
from tests.chaos.served import arguments, models

_SETTLE_S = 120.0
# at a time, of each: more would only wait on a small machine
_GOOD, _BAD = 10, 3
_PER_RUDE = 2
_MOST_WARM_S = 40.0


@dataclass
class Outcome:
    """What a run found.

    Args:
        ledger: of the requests.
        seconds: that it took.
        killed: models whose replicas were killed.
        before, after: what the processes held.
        leaks: what never came back.
        logged: what the server calls errors.
    """

    ledger: Ledger = field(default_factory=Ledger)
    seconds: float = 0.0
    killed: list[str] = field(default_factory=list)
    before: dict[str, Held] = field(default_factory=dict)
    after: dict[str, Held] = field(default_factory=dict)
    leaks: list[str] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)

    def faults(self) -> list[str]:
        """Everything that is not as it should be."""
        missing = [f"{kind}: {count} requests never ended" for kind, count in self.ledger.missing().items()]
        return [*missing, *self.ledger.wrong, *self.leaks, *self.logged]


def run(seconds: float, kill_every_s: float, seed: int, say: Callable[[str], None]) -> Outcome:
    """Start a server, let everybody at it, and look at what is left.

    Args:
        seconds: of chaos (>0); a third of it, 40 s at most, goes before without kills, so that pools and caches fill.
        kill_every_s: mean time between two kills.
        seed: of whatever is random here.
        say: is told how it goes.
    """
    with tempfile.TemporaryDirectory(prefix="pipeline-graph-chaos-") as folder:
        say("starting the server")
        with project(models(Path(folder)), **arguments()) as url:
            return asyncio.run(_run(url, seconds, kill_every_s, seed, say))


async def _run(url: str, seconds: float, kill_every_s: float, seed: int, say: Callable[[str], None]) -> Outcome:
    outcome, known = Outcome(), bads()
    async with _client(url) as client:
        right = await references(client)
        say("warming up")
        warm = Ledger()
        await _chaos(url, warm, right, known, random.Random(seed), min(seconds / 3, _MOST_WARM_S), None)
        outcome.ledger.wrong += [f"while warming up: {wrong}" for wrong in warm.wrong]
        outcome.before = await asyncio.to_thread(processes.settled, _SETTLE_S)
        say(f"chaos for {seconds:g} s")
        began_s = time.monotonic()
        kills = (client, kill_every_s, outcome.killed)
        await _chaos(url, outcome.ledger, right, known, random.Random(seed + 1), seconds, kills)
        outcome.seconds = time.monotonic() - began_s
        say("looking at what is left")
        await _still_answers(client, outcome.ledger, right)
    outcome.after, outcome.leaks = await asyncio.to_thread(processes.back_to, outcome.before, _SETTLE_S)
    outcome.logged = logs.errors(logs.folder())
    return outcome


async def _chaos(
    url: str,
    ledger: Ledger,
    right: list[Good],
    wrong: list[Bad],
    chance: random.Random,
    seconds: float,
    kills: tuple[httpx.AsyncClient, float, list[str]] | None,
) -> None:
    """All clients at once for so long; each ends with an answer to its last request."""
    deadline = time.monotonic() + seconds

    def over() -> bool:
        return time.monotonic() > deadline

    def own() -> random.Random:
        return random.Random(chance.random())

    async with asyncio.TaskGroup() as group, _client(url) as client:
        tasks = [group.create_task(good_client(client, ledger, right, own(), over)) for _ in range(_GOOD)]
        tasks += [group.create_task(bad_client(client, ledger, wrong, own(), over)) for _ in range(_BAD)]
        for kind in RUDE:
            tasks += [group.create_task(rude_client(url, ledger, [kind], own(), over)) for _ in range(_PER_RUDE)]
        if kills is not None:
            asking, every_s, killed = kills
            tasks.append(group.create_task(killer(asking, every_s, own(), over, killed)))
        await asyncio.wait(tasks)


async def _still_answers(client: httpx.AsyncClient, ledger: Ledger, right: list[Good]) -> None:
    """Every good request once more; and every model has all its replicas again."""
    for good in right:
        await insist(
            client, ledger, Good("afterwards: each good one", good.path, good.sent, good.stream, good.expected)
        )
    deadline = time.monotonic() + _SETTLE_S
    while (state := await client.get("/ready")).status_code != 200 or not _full(state):
        if time.monotonic() > deadline:
            ledger.wrong.append(f"afterwards: not every model is ready: {state.text}")
            return
        await asyncio.sleep(1)


def _full(state: httpx.Response) -> bool:
    return all(model["replicas"] == 2 for model in state.json()["models"].values())


@asynccontextmanager
async def _client(url: str) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as client:
        yield client
