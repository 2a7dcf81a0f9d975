"""Closed-loop chat clients in a process of their own: ``python -m benchmarks.chat_load PLAN ANSWER``."""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.errors import BenchmarkError

_TIMEOUT_S = 1200


@dataclass(frozen=True)
class Plan:
    """One measure.

    Args:
        url: of chat completions.
        bodies: of the requests, ``stream`` on; each client sends the next one when its answer has ended.
        clients: how many at a time (>=1).
    """

    url: str
    bodies: list[dict[str, Any]]
    clients: int


@dataclass(frozen=True)
class Answer:
    """One chat.

    Args:
        number: of the body.
        text: all that came.
        first_s: seconds until the first text.
        whole_s: until the end.
    """

    number: int
    text: str
    first_s: float
    whole_s: float


def drive(plan: Plan) -> tuple[list[Answer], float]:
    """Run the clients on ``plan``; the answers and the seconds that all of them took.

    Raises:
        BenchmarkError: a chat failed.
    """
    with tempfile.TemporaryDirectory(prefix="pipeline-graph-load-") as folder:
        asked, found = Path(folder, "plan.json"), Path(folder, "found.json")
        asked.write_text(json.dumps(asdict(plan)))
        command = [sys.executable, "-m", "benchmarks.chat_load", str(asked), str(found)]
        done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
        if done.returncode:
            raise BenchmarkError(f"the chat clients failed: {done.stderr[-2000:]}")
        content = json.loads(found.read_text())
    return [Answer(**answer) for answer in content["answers"]], content["wall_s"]


async def _chat(session: aiohttp.ClientSession, url: str, number: int, body: dict[str, Any]) -> Answer:
    started, first, text = time.perf_counter(), 0.0, ""
    async with session.post(url, json=body) as response:
        if response.status != 200:
            raise BenchmarkError(f"chat {number}: status {response.status}: {(await response.text())[:500]}")
        async for line in response.content:
            if not line.startswith(b"data:") or line.strip() == b"data: [DONE]":
                continue
            event = json.loads(line[5:])
            if "error" in event:
                raise BenchmarkError(f"chat {number}: {event}")
            piece = "".join(choice["delta"].get("content") or "" for choice in event["choices"])
            first = first or (time.perf_counter() - started if piece else 0.0)
            text += piece
    return Answer(number, text, first, time.perf_counter() - started)


async def _all(plan: Plan) -> dict[str, Any]:
    numbered, answers = iter(enumerate(plan.bodies)), list[Answer]()

    async def client() -> None:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            for number, body in numbered:
                answers.append(await _chat(session, plan.url, number, body))

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(plan.clients):
            group.create_task(client())
    return {"wall_s": time.perf_counter() - started, "answers": [asdict(answer) for answer in answers]}


def main(asked: str, found: str) -> None:
    """Read the plan, chat, write what was found."""
    plan = Plan(**json.loads(Path(asked).read_text()))
    Path(found).write_text(json.dumps(asyncio.run(_all(plan))))


if __name__ == "__main__":
    main(*sys.argv[1:])
