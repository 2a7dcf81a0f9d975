"""One text on its way: its tokens so far, how the next one is chosen, and when it ends."""

import secrets
import time
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from deployments.stepwise.media import Media
from deployments.stepwise.options import GenerationOptions

FinishReason = Literal["length", "eos_token", "stop_sequence"]


@dataclass(frozen=True)
class Token:
    """A token that was generated.

    Args:
        id: its number.
        logprob: natural logarithm of its probability by the model's own scores, before temperature, penalties and the
            like; NaN where nobody asked.
        top: the likeliest tokens at its place, with the same; likeliest first.
    """

    id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


class Row:
    """One sequence.

    Args:
        prompt: its tokens, shape (length,), on the model's device.
        config: upstream's generation config of the call, special tokens as tensors.
        processors: upstream's list for this row alone.
        criteria: stopping criteria beyond length and end tokens.
        max_length: tokens at which it ends, the prompt included.
        options: of the call.
        seed: of its random numbers.
        tells: whether log-probabilities are wanted.
        offsets: of models that count positions in several ways (text, time, height, width): how far each of them is
            ahead of the tokens behind the prompt; empty for the others.
        plain: whether its tokens are all that the model reads.
    """

    def __init__(
        self,
        prompt: torch.Tensor,
        config: Any,
        processors: Any,
        criteria: Any,
        max_length: int,
        options: GenerationOptions,
        seed: int,
        tells: bool,
        offsets: tuple[int, ...] = (),
        plain: bool = True,
    ) -> None:
        self.length = self.prompt_length = int(prompt.shape[0])
        self.max_length = max_length
        self._ids = prompt.new_zeros(max(max_length, self.length) + 1)
        self._ids[: self.length] = prompt
        self.processors = processors
        self._criteria = criteria
        end = config._eos_token_tensor
        self._end_ids = frozenset() if end is None else frozenset(end.tolist())
        self.pad_id = int(config._pad_token_tensor) if config._pad_token_tensor is not None else 0
        self.samples = bool(config.do_sample)
        self.generator = torch.Generator(prompt.device).manual_seed(seed) if self.samples else None
        self.seed = seed if self.samples else None
        self.tells = tells
        self.offsets = offsets
        self.plain = plain and not offsets
        self.top_n = options.top_n_tokens
        self.tells_prompt = options.decoder_input_details
        self.prompt_logprobs: list[float] = []
        self.tokens: list[Token] = []
        self.finish: FinishReason | None = None
        self.error: Exception | None = None
        self.detokenizer: Any = None  # the finisher's

    @property
    def ids(self) -> torch.Tensor:
        """All tokens, prompt included, shape (1, length)."""
        return self._ids[None, : self.length]

    @property
    def over(self) -> bool:
        """Whether nothing more comes."""
        return self.finish is not None or self.error is not None

    @property
    def left(self) -> int:
        """Tokens that may still come (>=0)."""
        return max(0, self.max_length - self.length)

    def begin(self) -> None:
        """The time that the call gave itself starts when its prompt does, not while it waits."""
        for criterion in self._criteria:
            if hasattr(criterion, "initial_timestamp"):
                criterion.initial_timestamp = time.time()

    def add(self, token: Token) -> None:
        """One token more; sets ``finish`` where it is the last."""
        self._ids[self.length] = token.id
        self.length += 1
        self.tokens.append(token)
        if token.id in self._end_ids:
            self.finish = "eos_token"
        else:
            self.finish = self._stopped()

    def _stopped(self) -> FinishReason | None:
        for criterion in self._criteria:
            if bool(criterion(self.ids, None).all()):
                return "stop_sequence" if hasattr(criterion, "stop_strings") else "length"
        return "length" if self.length >= self.max_length else None


@dataclass(eq=False)
class Generation:
    """A call on its way: one row for each sequence that it wants.

    Args:
        rows: at least one.
        outputs: what the pipeline's forward would give, the prompts in the place of the sequences.
        options: of the call.
        media: what its prompt has beside tokens, or what its encoder reads; or None.
        company: since a forward failed, the most requests that may run together, itself included; or None.
    """

    rows: list[Row]
    outputs: dict[str, Any]
    options: GenerationOptions
    media: Media | None = None
    company: int | None = None
    started: bool = field(default=False)

    @property
    def input_length(self) -> int:
        """Tokens that the caller sent."""
        return self.read or self.rows[0].prompt_length

    @property
    def read(self) -> int:
        """Tokens that its encoder reads (>=0)."""
        return self.media.read if self.media is not None else 0

    @property
    def most(self) -> int:
        """Tokens of the longest row at its end."""
        return max(row.max_length for row in self.rows)

    @property
    def over(self) -> bool:
        """Whether every row is."""
        return all(row.over for row in self.rows)

    @property
    def error(self) -> Exception | None:
        """Of the first row that failed."""
        return next((row.error for row in self.rows if row.error is not None), None)

    def answer(self) -> dict[str, Any]:
        """What the pipeline's forward gives: the sequences, padded at their end as upstream pads them."""
        longest = max(row.length for row in self.rows)
        padded = torch.stack(
            [
                torch.nn.functional.pad(row.ids[0].cpu(), (0, longest - row.length), value=row.pad_id)
                for row in self.rows
            ]
        )
        name = "output_ids" if "output_ids" in self.outputs else "generated_sequence"
        return {**self.outputs, name: padded[None]}


def new_seed() -> int:
    """A seed for a call that gave none."""
    return secrets.randbits(53)  # exact in JSON everywhere
