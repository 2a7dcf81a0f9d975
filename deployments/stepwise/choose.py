"""The next token of each row from the model's scores; a row that cannot choose fails alone."""

import math
from collections.abc import Sequence

import torch

from deployments.errors import InvalidParameterError
from deployments.stepwise.row import Row, Token

_NO_CHOICE = (
    "With these parameters no token has a probability: soften the temperature, the penalties or the tokens that are "
    "forbidden."
)


def choose(rows: Sequence[Row], logits: torch.Tensor) -> None:
    """Add to each row its next token, or its error.

    Args:
        rows: in the order of ``logits``.
        logits: the model's scores, shape (rows, vocabulary), float32; may be changed.
    """
    told = [index for index, row in enumerate(rows) if row.tells]
    raw = torch.log_softmax(logits[told], -1) if told else None
    tops = _tops([rows[index] for index in told], raw)
    chosen = logits.argmax(-1)
    for index, row in enumerate(rows):
        if row.processors or row.samples:
            try:
                chosen[index] = _own_choice(row, logits[index : index + 1])
            except Exception as error:
                row.error = error
    logprobs = [] if raw is None else raw.gather(1, chosen[told, None])[:, 0].tolist()
    place = {index: position for position, index in enumerate(told)}
    for index, (row, token) in enumerate(zip(rows, chosen.tolist(), strict=True)):
        if row.error is not None:
            continue
        at = place.get(index)
        row.add(Token(token, math.nan) if at is None else Token(token, logprobs[at], tops[at]))


def _own_choice(row: Row, scores: torch.Tensor) -> torch.Tensor:
    scores = row.processors(row.ids, scores.clone())
    if not row.samples:
        return scores.argmax(-1)[0]
    probabilities = torch.softmax(scores, -1)
    if not bool(torch.isfinite(probabilities).all()):
        # on a GPU, drawing from these would end the process
        raise InvalidParameterError(_NO_CHOICE, "parameters")
    return torch.multinomial(probabilities, 1, generator=row.generator)[0, 0]


def _tops(rows: Sequence[Row], raw: torch.Tensor | None) -> list[tuple[tuple[int, float], ...]]:
    """The likeliest tokens of each row that asked for them."""
    most = max((row.top_n for row in rows), default=0)
    if raw is None or not most:
        return [()] * len(rows)
    values, ids = raw.topk(min(most, raw.shape[-1]), -1)
    pairs = zip(ids.tolist(), values.tolist(), strict=True)
    return [tuple(zip(some, scores, strict=True))[: row.top_n] for row, (some, scores) in zip(rows, pairs, strict=True)]
