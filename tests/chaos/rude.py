"""Callers that are slow, and callers that leave: what they may expect, and what they leave behind."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import h11

from tests.chaos.ledger import Ledger, may_be_retried, outcome
from tests.chaos.served import LONG_TOKENS, MAX_BODY_BYTES
from tests.chaos.wire import Wire, dial

_PIECES, _PAUSE_S = 10, 0.2
LEFT = "left"
Ended = tuple[str, str]
"""The outcome, and what is wrong with it."""
Rude = Callable[[str, random.Random], Awaitable[Ended]]


@asynccontextmanager
async def _wire(url: str, chance: random.Random, slow_reader: bool = False) -> AsyncIterator[Wire]:
    wire = await dial(url, slow_reader)
    try:
        yield wire
    finally:
        await wire.leave(abruptly=chance.random() < 0.5)


def _echo(text: str, **parameters: Any) -> bytes:
    return json.dumps({"inputs": text, "parameters": parameters}).encode()


def _long_stream() -> bytes:
    parameters = {"max_new_tokens": LONG_TOKENS, "min_new_tokens": LONG_TOKENS, "do_sample": False}
    return json.dumps({"inputs": "I love", "parameters": parameters, "stream": True}).encode()


async def _answered(wire: Wire, text: str, **reading: Any) -> Ended:
    """The answer has to be the echo of ``text``."""
    answer = await wire.answer(**reading)
    ended = outcome(answer.status, answer.headers.get("retry-after"))
    right = may_be_retried(ended) or (answer.status == 200 and json.loads(answer.body)["echo"] == text)
    return ended, "" if right else f"{ended} for {text[:20]!r}: {answer.body[:300]!r}"


async def _refused(wire: Wire, *statuses: int) -> Ended:
    answer = await wire.answer()
    ended = outcome(answer.status, answer.headers.get("retry-after"))
    right = may_be_retried(ended) or answer.status in statuses
    return ended, "" if right else f"{ended} instead of {statuses}: {answer.body[:300]!r}"


async def slow_head(url: str, chance: random.Random) -> Ended:
    """Sends its head letter by letter."""
    body = _echo("slow head")
    async with _wire(url, chance) as wire:
        head = wire.head("/models/echo", {"content-length": str(len(body))})
        for start in range(0, len(head), len(head) // _PIECES):
            await wire.write(head[start : start + len(head) // _PIECES])
            await asyncio.sleep(_PAUSE_S)
        await wire.write(wire.data(body) + wire.end())
        return await _answered(wire, "slow head")


async def slow_body(url: str, chance: random.Random) -> Ended:
    """Sends its body in small pieces."""
    text = f"{chance.random()}" * 20
    body = _echo(text)
    async with _wire(url, chance) as wire:
        await wire.write(wire.head("/models/echo", {"transfer-encoding": "chunked"}))
        for start in range(0, len(body), 1 + len(body) // _PIECES):
            await wire.write(wire.data(body[start : start + 1 + len(body) // _PIECES]))
            await asyncio.sleep(_PAUSE_S)
        await wire.write(wire.end())
        return await _answered(wire, text)


async def never_ending_body(url: str, chance: random.Random) -> Ended:
    """Sends half of its body, and waits."""
    async with _wire(url, chance) as wire:
        await wire.write(wire.head("/models/echo", {"content-length": "1000"}) + wire.data(b'{"inputs": '))
        return await _refused(wire, 408)


async def dripping_body(url: str, chance: random.Random) -> Ended:
    """Sends a byte now and then, for as long as it is let."""
    async with _wire(url, chance) as wire:
        await wire.write(wire.head("/models/echo", {"transfer-encoding": "chunked"}))

        async def drip() -> None:
            while True:
                await wire.write(b"1\r\n \r\n")
                await asyncio.sleep(_PAUSE_S)

        dripping = asyncio.create_task(drip())
        try:
            return await _refused(wire, 408)
        finally:
            dripping.cancel()


async def slow_reader(url: str, chance: random.Random) -> Ended:
    """Reads a large answer a little at a time."""
    text = f"{chance.random()}" * 10_000
    body = _echo(text)
    async with _wire(url, chance, slow_reader=True) as wire:
        await wire.write(wire.head("/models/echo", {"content-length": str(len(body))}) + wire.data(body) + wire.end())
        return await _answered(wire, text, pause_s=0.02, piece=2048)


async def slow_reader_of_a_stream(url: str, chance: random.Random) -> Ended:
    """Reads a stream slower than it is written."""
    parameters = {"max_new_tokens": 200, "min_new_tokens": 200, "do_sample": False}
    body = json.dumps({"inputs": "I love", "parameters": parameters, "stream": True}).encode()
    async with _wire(url, chance, slow_reader=True) as wire:
        await wire.write(wire.head("/models/write", {"content-length": str(len(body))}) + wire.data(body) + wire.end())
        answer = await wire.answer(pause_s=0.02, piece=512)
    ended = outcome(answer.status, answer.headers.get("retry-after"))
    if answer.status != 200:
        return ended, "" if may_be_retried(ended) else f"{ended}: {answer.body[:300]!r}"
    blocks = [json.loads(line[5:]) for line in answer.body.decode().splitlines() if line.startswith("data:")]
    if blocks[-1].get("error_type") == "replica_lost":
        return "broken off, retryable", ""
    text = "".join(block["token"]["text"] for block in blocks if "token" in block)
    right = text == blocks[-1].get("generated_text", "").removeprefix("I love") and len(blocks) >= 200
    return ended, "" if right else f"the stream ends so: {answer.body[-300:]!r}"


async def unannounced_length(url: str, chance: random.Random) -> Ended:
    """Sends a body over the limit in chunks, without saying how long it gets."""
    async with _wire(url, chance) as wire:
        await wire.write(wire.head("/models/echo", {"transfer-encoding": "chunked"}))
        for _ in range(MAX_BODY_BYTES // 2**16 + 2):
            await wire.write(wire.data(b" " * 2**16))
        return await _refused(wire, 413)


async def announced_length(url: str, chance: random.Random) -> Ended:
    """Says that it will send a gigabyte, and sends nothing."""
    async with _wire(url, chance) as wire:
        await wire.write(wire.head("/models/echo", {"content-length": str(2**30)}))
        return await _refused(wire, 413)


async def no_http(url: str, chance: random.Random) -> Ended:
    """Speaks something else."""
    async with _wire(url, chance) as wire:
        wire.head("/", {})
        await wire.write(bytes(chance.randrange(256) for _ in range(200)) + b"\r\n\r\n")
        return await _refused(wire, 400)


async def leaves_in_the_head(url: str, chance: random.Random) -> Ended:
    """Hangs up in the middle of its head."""
    async with _wire(url, chance) as wire:
        await wire.write(wire.head("/models/echo", {"content-length": "10"})[:40])
    return LEFT, ""


async def leaves_in_the_body(url: str, chance: random.Random) -> Ended:
    """Hangs up in the middle of its body."""
    async with _wire(url, chance) as wire:
        await wire.write(wire.head("/models/echo", {"content-length": "100000"}) + wire.data(b" " * 50_000))
        await asyncio.sleep(chance.random() / 5)
    return LEFT, ""


async def leaves_before_the_answer(url: str, chance: random.Random) -> Ended:
    """Asks for something that takes a while, and hangs up."""
    body = _echo(f"{chance.random()}", sleep_s=0.1)
    async with _wire(url, chance) as wire:
        await wire.write(wire.head("/models/echo", {"content-length": str(len(body))}) + wire.data(body) + wire.end())
        await asyncio.sleep(chance.random() / 10)
    return LEFT, ""


async def leaves_a_stream(url: str, chance: random.Random) -> Ended:
    """Hangs up in the middle of a stream that would take minutes."""
    body = _long_stream()
    async with _wire(url, chance) as wire:
        await wire.write(wire.head("/models/write", {"content-length": str(len(body))}) + wire.data(body) + wire.end())
        seen = 0
        async for event in wire.events():
            if isinstance(event, h11.Response) and event.status_code != 200:
                ended = outcome(event.status_code, dict(event.headers).get(b"retry-after"))
                return ended, "" if may_be_retried(ended) else f"a stream got {ended}"
            seen += isinstance(event, h11.Data)
            if seen > chance.randrange(1, 20):
                break
    return LEFT, ""


RUDE: dict[str, tuple[Rude, ...]] = {
    "slow: head": (slow_head,),
    "slow: body": (slow_body,),
    "slow: body without end": (never_ending_body, dripping_body),
    "slow: reader": (slow_reader,),
    "slow: reader of a stream": (slow_reader_of_a_stream,),
    "oversized: body": (unannounced_length, announced_length),
    "malformed: HTTP": (no_http,),
    "leaving: in the head": (leaves_in_the_head,),
    "leaving: in the body": (leaves_in_the_body,),
    "leaving: before the answer": (leaves_before_the_answer,),
    "leaving: in a stream": (leaves_a_stream,),
}
"""By row of the table."""


async def rude_client(
    url: str, ledger: Ledger, kinds: list[str], chance: random.Random, over: Callable[[], bool]
) -> None:
    """One after the other, until it is over."""
    while not over():
        await be_rude(url, ledger, kind := chance.choice(kinds), chance.choice(RUDE[kind]), chance)
        await asyncio.sleep(chance.expovariate(1 / 0.5))


async def be_rude(url: str, ledger: Ledger, kind: str, rude: Rude, chance: random.Random) -> None:
    """One such call."""
    ledger.begin(kind)
    try:
        ended, wrong = await rude(url, chance)
    except (ConnectionError, TimeoutError) as error:
        ended, wrong = type(error).__name__, repr(error)
    ledger.end(kind, ended, f"{rude.__name__}: {wrong}" if wrong else "")
