"""Requests at a steady rate, whatever becomes of the ones before; every one is accounted for."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import httpx


@dataclass
class Account:
    """What became of the requests.

    Args:
        sent: how many.
        answers: of each: the status, with ``+`` where a Retry-After came with it; or the name of the client's error.
    """

    sent: int = 0
    answers: Counter[str] = field(default_factory=Counter)


async def load(
    url: str,
    body: Callable[[int], dict[str, object]],
    count: int,
    per_s: float,
    midway: Callable[[], Awaitable[None]],
    account: Account | None = None,
) -> Account:
    """Post ``count`` requests at ``per_s`` to ``url``; when half are sent, ``midway`` runs beside them.

    Returns:
        ``account``, or a new one, kept as they go.
    """
    account = Account() if account is None else account

    async def one(client: httpx.AsyncClient, number: int) -> None:
        account.sent += 1
        try:
            answer = await client.post(url, json=body(number))
        except httpx.HTTPError as error:
            account.answers[type(error).__name__] += 1
            return
        if answer.status_code == 200:
            assert answer.json()["echo"] == body(number)["inputs"], "somebody else's answer"
        account.answers[f"{answer.status_code}{'+' * ('retry-after' in answer.headers)}"] += 1

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=50)
    async with httpx.AsyncClient(timeout=120, limits=limits) as client, asyncio.TaskGroup() as group:
        for number in range(count):
            if number == count // 2:
                group.create_task(midway())
            group.create_task(one(client, number))
            await asyncio.sleep(1 / per_s)
    return account
