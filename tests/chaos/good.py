"""Requests that have one right answer, asked again and again until it comes."""

import asyncio
import base64
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.bombs import saved
from tests.chaos.ledger import BROKEN_OFF, Ledger, may_be_retried, outcome
from tests.tiny.compare import difference
from tests.tiny.samples import picture
from tests.tiny.text import SENTENCES

_ATTEMPTS = 20  # a killed replica is away for seconds
_GREEDY = {"max_new_tokens": 24, "min_new_tokens": 24, "do_sample": False}


@dataclass(frozen=True)
class Good:
    """A request with one right answer.

    Args:
        kind: its row in the table.
        path: where it is posted.
        sent: keyword arguments of ``httpx``'s ``post``.
        stream: whether events come back.
        expected: the right answer, where it is known without asking.
    """

    kind: str
    path: str
    sent: dict[str, Any] = field(default_factory=dict)
    stream: bool = False
    expected: Any = None


def goods() -> list[Good]:
    """Every good request, each of another way to ask."""
    found = []
    for number, sentence in enumerate(SENTENCES):
        image = saved(picture(number), "PNG")
        form = {"files": {"image": ("picture.png", image)}, "data": {"top_k": "2"}}
        encoded = {"inputs": base64.b64encode(image).decode()}
        prompt = {"inputs": sentence, "parameters": {**_GREEDY, "return_full_text": False}}
        completion = {"model": "write", "prompt": sentence, "max_tokens": 16, "temperature": 0}
        found += [
            Good("good: text", "/models/classify", {"json": {"inputs": sentence}}),
            Good("good: text", "/models/classify", {"json": {"inputs": sentence, "parameters": {"top_k": 2}}}),
            Good("good: list", "/models/classify", {"json": {"inputs": [sentence, *SENTENCES[:number], "Yes."]}}),
            Good("good: image", "/models/photo", {"content": image, "headers": {"content-type": "image/png"}}),
            Good("good: image", "/models/photo", {"json": encoded}),
            Good("good: form", "/models/photo", form),
            Good("good: generation", "/models/write", {"json": prompt}),
            Good("good: stream", "/models/write", {"json": {**prompt, "stream": True}}, stream=True),
            Good("good: OpenAI", "/v1/completions", {"json": completion}),
            Good("good: OpenAI stream", "/v1/completions", {"json": {**completion, "stream": True}}, stream=True),
        ]
    return found


def echo(chance: random.Random) -> Good:
    """A text that nobody has sent before."""
    text = f"{chance.random()} " * chance.choice((1, 10, 5000))
    return Good("good: echo", "/models/echo", {"json": {"inputs": text}}, expected={"echo": text})


async def ask(client: httpx.AsyncClient, good: Good) -> tuple[str, Any]:
    """How one attempt ended, and the answer or what came instead of it."""
    try:
        answer = await client.post(good.path, **good.sent)
    except httpx.HTTPError as error:
        return type(error).__name__, str(error)
    ended = outcome(answer.status_code, answer.headers.get("retry-after"))
    if answer.status_code != 200:
        return ended, answer.text[:300]
    if good.stream:
        return _read_events(answer.text)
    return ended, _essence(answer.json())


def _essence(answer: Any) -> Any:
    """An answer without what differs from one time to the next."""
    if isinstance(answer, dict) and "choices" in answer:
        return answer["choices"]
    return {"echo": answer["echo"]} if isinstance(answer, dict) and "echo" in answer else answer


def _read_events(text: str) -> tuple[str, Any]:
    """How a stream ended, and its text."""
    lines = [line.removeprefix("data:").strip() for line in text.splitlines() if line.startswith("data:")]
    done = bool(lines) and lines[-1] == "[DONE]"
    events = [json.loads(line) for line in lines if line != "[DONE]"]
    told = [event["error"] for event in events if "error" in event]
    if told:
        words = {event.get("error_type") or event["error"].get("code") for event in events if "error" in event}
        return (BROKEN_OFF if words == {"replica_lost"} else "error in the stream"), told
    pieces = [event["token"]["text"] if "token" in event else event["choices"][0]["text"] for event in events]
    if not (done or (events and events[-1].get("generated_text") is not None)):
        return "broken off without a word", text[-300:]
    return "200", "".join(pieces)


async def references(client: httpx.AsyncClient) -> list[Good]:
    """Every good request with its right answer: the one that it gets while nothing else happens."""
    found = []
    for good in goods():
        ended, answer = await ask(client, good)
        assert ended == "200", (good.path, ended, answer)
        found.append(Good(good.kind, good.path, good.sent, good.stream, answer))
    return found


async def insist(client: httpx.AsyncClient, ledger: Ledger, good: Good) -> None:
    """Ask until the answer comes, as a patient caller does, and compare it."""
    for _ in range(_ATTEMPTS):
        ledger.begin(good.kind)
        ended, answer = await ask(client, good)
        if not may_be_retried(ended):
            wrong = difference(answer, good.expected) if ended == "200" else f"{good.path} ended with {ended}: {answer}"
            ledger.end(good.kind, ended, wrong or "")
            return
        ledger.end(good.kind, ended)
        await asyncio.sleep(1)
    ledger.wrong.append(f"{good.kind}: no answer after {_ATTEMPTS} attempts")


async def good_client(
    client: httpx.AsyncClient, ledger: Ledger, known: list[Good], chance: random.Random, over: Callable[[], bool]
) -> None:
    """One after the other, until it is over."""
    while not over():
        good = echo(chance) if chance.random() < 0.2 else chance.choice(known)
        await insist(client, ledger, good)
        await asyncio.sleep(chance.expovariate(1 / 0.05))
