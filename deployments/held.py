"""What a replica of a group keeps of each of its models; see `deployments.shelf`."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from deployments.errors import ModelUnavailableError

State = Literal["ready", "loading", "failed", "asleep"]
"""In memory; on the way there; could not be loaded; loaded when it is asked for."""
FIRST_GUESS_S = 10.0
"""What a load takes, until one was seen."""


class Held(Protocol):
    """A loaded model."""

    @property
    def memory_bytes(self) -> int: ...  # noqa: D102
    async def close(self) -> None: ...  # noqa: D102


@dataclass(frozen=True)
class Bounds:
    """What the models of a replica may take together; None for no bound.

    Args:
        max_bytes: of their weights.
        max_models: how many there may be.
        max_callers: that may wait while one model loads, so that they leave room for callers of the others.
    """

    max_bytes: int | None = None
    max_models: int | None = None
    max_callers: int = 1_000_000


@dataclass(eq=False)
class Place:
    """One model in memory, or on its way there.

    Args:
        began_s: when it was asked for.
        loading: the load.
        model: None until it is loaded.
        users: calls that have it or wait for it; above 0 it stays.
    """

    began_s: float
    loading: "asyncio.Task[None]"
    model: Any = None
    users: int = 0


@dataclass
class Record:
    """What is remembered of a model, in memory or not.

    Args:
        bytes: measured when it was last loaded; None before.
        load_s: what that took.
        reason: why it could not be loaded; empty where it could.
        failed_s: when that was.
    """

    bytes: int | None = None
    load_s: float = FIRST_GUESS_S
    reason: str = ""
    failed_s: float = field(default=0.0, repr=False)


def cannot_load(name: str, left_s: float) -> ModelUnavailableError:
    """What callers of a model are told that cannot be loaded, for so many seconds more."""
    return ModelUnavailableError(f"{name} could not be loaded; see /ready for the reason.", left_s)


def no_room(name: str) -> ModelUnavailableError:
    """What callers are told while the models in memory stay in use."""
    return ModelUnavailableError(
        f"There is no room for {name} now: the models in memory are in use; try again in a few seconds.", 5.0
    )


def too_many_wait(name: str, count: int, left_s: float) -> ModelUnavailableError:
    """What callers are told when so many wait for a load that takes so many seconds more."""
    return ModelUnavailableError(
        f"{name} is being loaded and {count} requests wait for it already; try again in about {left_s:.0f} s.", left_s
    )
