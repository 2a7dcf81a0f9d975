"""The next token of each row from the model's scores; a row that cannot choose fails alone."""

import math
from collections.abc import Sequence

import torch

from deployments.errors import InvalidParameterError
from deployments.forward import device_lost, is_out_of_memory
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

    Raises:
        Exception: memory ran out, or the device is lost; the rows are as they were.
    """
    drawn = [(row.generator, row.generator.get_state()) for row in rows if row.generator is not None]
    try:
        found = _choices(rows, logits)
    except Exception:
        for generator, state in drawn:  # who tries again draws the same
            generator.set_state(state)
        raise
    for row, choice in zip(rows, found, strict=True):
        if isinstance(choice, Token):
            row.add(choice)
        else:
            row.error = choice


def _choices(rows: Sequence[Row], logits: torch.Tensor) -> list[Token | Exception]:
    """The next token of each row, or why it has none."""
    told = [index for index, row in enumerate(rows) if row.tells]
    raw = torch.log_softmax(logits[told], -1) if told else None
    tops = _tops([rows[index] for index in told], raw)
    chosen = logits.argmax(-1)
    failed: dict[int, Exception] = {}
    for index, row in enumerate(rows):
        if row.processors or row.samples:
            try:
                chosen[index] = _own_choice(row, logits[index : index + 1])
            except Exception as error:
                if is_out_of_memory(error) or device_lost(error):  # which is not this row's fault
                    raise
                failed[index] = error
    logprobs = [] if raw is None else raw.gather(1, chosen[told, None])[:, 0].tolist()
    more = {index: (logprobs[place], tops[place]) for place, index in enumerate(told)}
    return [
        failed[index] if index in failed else Token(token, *more.get(index, (math.nan,)))
        for index, token in enumerate(chosen.tolist())
    ]


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
