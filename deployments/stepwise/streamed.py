"""A stream of a call that ``generate`` runs in one go: its tokens are handed on as they come."""

import math
from collections.abc import Callable
from typing import Any

import torch
from transformers import StoppingCriteria
from transformers.generation.streamers import BaseStreamer

from deployments.stepwise.options import GenerationOptions
from deployments.stepwise.row import FinishReason, Token


class StreamedRow:
    """The one sequence of such a call, as much as is told of a `deployments.stepwise.row.Row`."""

    seed: int | None = None
    tells_prompt = False
    top_n = 0

    def __init__(self) -> None:
        self.tokens: list[Token] = []
        self.finish: FinishReason | None = None
        self.detokenizer: Any = None  # the finisher's


class Streamed:
    """What is told of such a call, and what makes ``generate`` tell it.

    Args:
        input_length: tokens of the prompt.
        abandoned: whether nobody listens any more.
    """

    def __init__(self, input_length: int, abandoned: Callable[[], bool]) -> None:
        self.input_length = input_length
        self.options = GenerationOptions()
        self.rows = [StreamedRow()]
        self.tell: Callable[[int], None] = lambda index: None  # called on the model's thread
        self._abandoned = abandoned

    @property
    def streamer(self) -> Any:
        """For ``generate``."""
        return _Streamer(self)

    @property
    def criterion(self) -> Any:
        """For ``generate`` as well."""
        return _Left(self._abandoned)


class _Streamer(BaseStreamer):  # type: ignore[misc]
    """Takes the prompt, and then each token. The last one is told with how the answer ended, so one is held back."""

    def __init__(self, streamed: Streamed) -> None:
        self._streamed = streamed
        self._prompt_came = False

    def put(self, value: torch.Tensor) -> None:
        if not self._prompt_came:
            self._prompt_came = True
            return
        tokens = self._streamed.rows[0].tokens
        for token in value.reshape(-1).tolist():
            tokens.append(Token(token, math.nan))
            if len(tokens) > 1:
                self._streamed.tell(len(tokens) - 2)

    def end(self) -> None:
        """Nothing more comes."""


class _Left(StoppingCriteria):  # type: ignore[misc]
    """Ends a text that nobody waits for."""

    def __init__(self, abandoned: Callable[[], bool]) -> None:
        self._abandoned = abandoned

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """See `StoppingCriteria`."""
        return torch.full((input_ids.shape[0],), self._abandoned(), device=input_ids.device, dtype=torch.bool)
