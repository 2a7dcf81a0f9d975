"""Which requests have room in the running batch, and whose prompts run together. Pure functions."""

from collections.abc import Callable, Sequence

from deployments.plan import waste
from deployments.work import Chunk

# of the rows, that items of lists may take: the others are free for single requests
_BULK_SHARE = 0.75
_PROMPT_WASTE = 0.3  # share of padding in prompts that run together
_ROOM = 8  # tokens for which there is room while prompts run together, for each that may run at once


def admitted(inside: Sequence[Chunk], waiting: Sequence[Chunk], max_rows: int, max_cost: float) -> list[Chunk]:
    """Those of ``waiting`` that come in, oldest first: nobody overtakes one who waits for room.

    A request that is larger than the bounds runs alone, and those with whom a step failed come in half as many.

    Args:
        inside: in the batch.
        waiting: in any order.
        max_rows: of the batch (>=1).
        max_cost: rows x the longest that one of them may get, in tokens (>0).
    """
    taken: list[Chunk] = []
    for chunk in sorted(waiting, key=lambda chunk: chunk.order):
        together = [*inside, *taken, chunk]
        if len(together) > 1 and not _fit(together, max_rows, max_cost):
            break
        if chunk.work.bulk and len(together) > 1 and _bulk_rows(together) > _BULK_SHARE * max_rows:
            continue
        taken.append(chunk)
    return taken


def prompt_group(joining: Sequence[Chunk], most_tokens: int, to_run: Callable[[Chunk], int]) -> list[Chunk]:
    """The oldest of ``joining`` with those that have as much to run, ``most_tokens`` together at most with padding.

    Args:
        joining: oldest first (>=1).
        most_tokens: that run at once (>=1).
        to_run: tokens of each row of a chunk that are not known from earlier prompts.
    """
    oldest, *others = joining
    group = [oldest]
    if _by_itself(oldest):
        return group
    left = {id(chunk): to_run(chunk) for chunk in joining}
    for chunk in sorted(others, key=lambda chunk: abs(left[id(chunk)] - left[id(oldest)])):
        together = [*group, chunk]
        sizes = [left[id(one)] for one in together for _ in one.generation.rows]
        padded = max(sizes) * len(sizes)
        roomy = max(map(_length, together)) * len(sizes) <= _ROOM * most_tokens
        if not _by_itself(chunk) and roomy and padded <= most_tokens and waste(sum(sizes), padded) <= _PROMPT_WASTE:
            group.append(chunk)
    return group


def cost(chunks: Sequence[Chunk]) -> float:
    """Rows x the longest that one of them may get, in tokens."""
    rows = sum(len(chunk.generation.rows) for chunk in chunks)
    return float(rows * max(chunk.generation.most + chunk.generation.read for chunk in chunks))


def _fit(chunks: Sequence[Chunk], max_rows: int, max_cost: float) -> bool:
    rows = sum(len(chunk.generation.rows) for chunk in chunks)
    company = min(chunk.generation.company or len(chunks) for chunk in chunks)
    return rows <= max_rows and cost(chunks) <= max_cost and len(chunks) <= company


def _bulk_rows(chunks: Sequence[Chunk]) -> int:
    rows: int = sum(len(chunk.generation.rows) for chunk in chunks if chunk.work.bulk)
    return rows


def _length(chunk: Chunk) -> int:
    """Tokens of its prompt, and of what it generated before it was put back."""
    return max(int(row.length) for row in chunk.generation.rows)


def _by_itself(chunk: Chunk) -> bool:
    """Whether its prompt has media, or the probabilities of its prompt are wanted."""
    generation = chunk.generation
    return bool(generation.options.decoder_input_details) or generation.media is not None
