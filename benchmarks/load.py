"""The load client: closed-loop HTTP clients in a process of their own, ``python -m benchmarks.load PLAN ANSWER``.

It shares the machine with the server that it measures, so it is light: bodies are encoded before it starts, each client
keeps one connection, and nothing of torch is imported. `drive` starts it and reads what it found.
"""

import asyncio
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import aiohttp

from benchmarks.errors import BenchmarkError

_TIMEOUT_S = 600
_HEAD_START_S = 0.5  # of the list request, before single ones are sent


@dataclass(frozen=True)
class Plan:
    """One measure.

    Args:
        url: every body is posted there.
        bodies: file with one JSON body a line; each client sends the next one when it has its answer.
        clients: how many at a time (>=1).
        passes: times that the whole file is sent (>=1, default 1).
        warm_up: requests before the clock starts (default 0).
        keep: numbers of the bodies whose answers come back, of the last pass.
        list_body: file with a body that one more client sends; then the clients go on exactly until it is answered,
            and ``passes`` is not heeded.
    """

    url: str
    bodies: str
    clients: int
    passes: int = 1
    warm_up: int = 0
    keep: tuple[int, ...] = ()
    list_body: str | None = None


@dataclass
class Load:
    """What was found.

    Args:
        wall_s: from the first request to the last answer.
        cpu_s: CPU time that the client itself took in it.
        latencies_s: of each request.
        batch_sizes: from the header ``x-batch-size``; empty where the server sends none.
        kept: number of the body → the answer's text.
        list_s: how long the list request took, if there was one.
        list_answer: its answer.
        failures: what went wrong, request by request.
    """

    wall_s: float = 0.0
    cpu_s: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    batch_sizes: list[int] = field(default_factory=list)
    kept: dict[int, str] = field(default_factory=dict)
    list_s: float = 0.0
    list_answer: str = ""
    failures: list[str] = field(default_factory=list)


def drive(plan: Plan) -> Load:
    """Run the client on ``plan``, in its own process.

    Raises:
        BenchmarkError: a request failed, so that the figures say nothing.
    """
    with tempfile.TemporaryDirectory(prefix="pipeline-graph-load-") as folder:
        asked, found = Path(folder, "plan.json"), Path(folder, "found.json")
        asked.write_text(json.dumps(asdict(plan)))
        command = [sys.executable, "-m", "benchmarks.load", str(asked), str(found)]
        done = subprocess.run(
            command, cwd=Path(__file__).parents[1], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        if done.returncode:
            raise BenchmarkError(f"the load client ended with {done.returncode}: {done.stderr[-2000:]}")
        content = json.loads(found.read_text())
    load = Load(**{**content, "kept": {int(number): text for number, text in content["kept"].items()}})
    if load.failures:
        raise BenchmarkError(f"{len(load.failures)} requests to {plan.url} failed; the first: {load.failures[0]}")
    return load


class _Clients:
    """The clients of one plan, each with a connection that stays open."""

    def __init__(self, plan: Plan, bodies: list[bytes]) -> None:
        self._plan = plan
        self._bodies = bodies
        self._sessions = [
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=1),
                timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S),
                headers={"content-type": "application/json"},
            )
            for _ in range(plan.clients)
        ]

    async def close(self) -> None:
        """Close the connections."""
        await asyncio.gather(*(session.close() for session in self._sessions))

    async def run(self, numbers: Iterator[int], load: Load, ended: Callable[[], bool] = lambda: False) -> None:
        """Send the bodies of these numbers; with ``ended``, stop then, and forget what was still under way."""
        await asyncio.gather(*(self._client(session, numbers, load, ended) for session in self._sessions))

    async def _client(
        self, session: aiohttp.ClientSession, numbers: Iterator[int], load: Load, ended: Callable[[], bool]
    ) -> None:
        for number in numbers:
            started = time.perf_counter()
            try:
                async with session.post(self._plan.url, data=self._bodies[number]) as response:
                    answer = await response.read()
                    status, batch_size = response.status, response.headers.get("x-batch-size")
            except (aiohttp.ClientError, TimeoutError) as error:
                load.failures.append(f"{type(error).__name__}: {error}")
                continue
            if ended():
                return
            load.latencies_s.append(time.perf_counter() - started)
            if status != 200:
                load.failures.append(f"status {status}: {answer[:500].decode(errors='replace')}")
            if batch_size is not None:
                load.batch_sizes.append(int(batch_size))
            if number in self._plan.keep:
                load.kept[number] = answer.decode()


async def _measure(plan: Plan, bodies: list[bytes], long: bytes) -> Load:
    load, clients = Load(), _Clients(plan, bodies)
    everything = range(len(bodies))
    try:
        await clients.run(itertools.islice(itertools.cycle(everything), plan.warm_up), Load())
        wall, cpu = time.perf_counter(), time.process_time()
        if plan.list_body is None:
            await clients.run(itertools.chain(*itertools.repeat(everything, plan.passes)), load)
        else:
            listing = asyncio.create_task(_list_request(plan.url, long, load))
            await asyncio.sleep(_HEAD_START_S)
            await clients.run(itertools.cycle(everything), load, listing.done)
            await listing
        load.wall_s, load.cpu_s = time.perf_counter() - wall, time.process_time() - cpu
    finally:
        await clients.close()
    return load


async def _list_request(url: str, body: bytes, load: Load) -> None:
    started = time.perf_counter()
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)) as session,
        session.post(url, data=body, headers={"content-type": "application/json"}) as response,
    ):
        load.list_answer = (await response.read()).decode()
        load.list_s = time.perf_counter() - started
        if response.status != 200:
            load.failures.append(f"list request: status {response.status}: {load.list_answer[:500]}")


def main(asked: str, found: str) -> None:
    """Read the plan, measure, write what was found."""
    plan = Plan(**json.loads(Path(asked).read_text()))
    bodies = Path(plan.bodies).read_bytes().splitlines()
    long = Path(plan.list_body).read_bytes() if plan.list_body else b""
    load = asyncio.run(_measure(plan, bodies, long))
    Path(found).write_text(json.dumps(asdict(load)))


if __name__ == "__main__":
    main(*sys.argv[1:])
