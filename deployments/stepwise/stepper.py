"""The model's side of a running batch: prompts run in pieces, and one token more for every row."""

import functools
import inspect
import logging
from collections.abc import Sequence
from typing import Any

import torch

from deployments.device_map import input_device
from deployments.forward import is_out_of_memory
from deployments.stepwise.choose import choose
from deployments.stepwise.media import Media
from deployments.stepwise.prefixes import Prefixes
from deployments.stepwise.row import Row
from deployments.stepwise.slots import SlotCache

logger = logging.getLogger("pipeline_graph.stepper")


class Prefill:
    """Prompts on their way through the model, padded to the longest, some columns at a time.

    Args:
        cache: empty.
        rows: of similar length; where one tells its prompt's log-probabilities, it is the only one.
        media: of the one prompt that all the rows have, with as many tokens generated for each; it runs in one piece.
        prefixes: beginnings that need not run again.
    """

    def __init__(
        self, cache: SlotCache, rows: Sequence[Row], media: Media | None = None, prefixes: Prefixes | None = None
    ) -> None:
        self.rows = list(rows)
        self.media = media
        for row in rows:
            row.prompt_logprobs = [] if not row.tokens else row.prompt_logprobs  # a prompt that begins anew
        self.cache = cache
        self.cache.begin([row.length for row in rows])
        self.width = max(row.length for row in rows)
        self.tokens = torch.stack([torch.nn.functional.pad(row.ids[0], (self.width - row.length, 0)) for row in rows])
        self.reused = 0  # tokens that do not run
        if prefixes is not None:
            self._begin_with(prefixes)

    def _begin_with(self, prefixes: Prefixes) -> None:
        """Fill the columns in which every row that has a token has a known one."""
        skipped = self.width - max(to_run(row, prefixes) for row in self.rows)
        for index, row in enumerate(self.rows):
            count = skipped - self.cache.firsts[index]
            if count > 0:
                self.cache.put(index, prefixes.states(row.ids[0].tolist(), count))
                self.reused += count
        self.cache.advance(skipped)

    @property
    def left(self) -> int:
        """Columns still to run."""
        return self.width - self.cache.width


def to_run(row: Row, prefixes: Prefixes) -> int:
    """Tokens of a text that must run (>=1)."""
    if not row.plain or (row.tells_prompt and not row.tokens):
        return row.length
    return row.length - prefixes.known(row.ids[0].tolist())


class Stepper:
    """Some rows of a decoder-only model with their cache. One thread.

    Args:
        model: takes ``past_key_values`` and left padding; see `deployments.stepwise.check`.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self.prefixes = Prefixes(model)
        accepted = inspect.signature(model.forward).parameters
        self._takes_positions = "position_ids" in accepted
        self._takes_last_only = "logits_to_keep" in accepted
        self.rows: list[Row] = []
        self._cache = self._empty()

    def _empty(self) -> SlotCache:
        """A cache without rows."""
        return SlotCache(self._model)

    def begin(self, rows: Sequence[Row], media: Media | None = None) -> Prefill:
        """Prompts to run, with what is known of them."""
        return Prefill(self._empty(), rows, media, None if media is not None else self.prefixes)

    def prefill(self, prefill: Prefill, most: int) -> bool:
        """Run up to ``most`` tokens, padding included, of prompts; whether they are through, with a token chosen.

        They join the batch with `join`.
        """
        columns = min(prefill.left, max(1, most // len(prefill.rows)))
        if prefill.media is not None:
            columns = prefill.left
        begin = prefill.cache.width
        tokens = prefill.tokens[:, begin : begin + columns]
        row = prefill.rows[0]
        tells_prompt = row.tells_prompt and not row.tokens
        logits = self._forward(prefill.cache, prefill.rows, tokens, begin == 0, tells_prompt, prefill.media)
        if tells_prompt:
            row.prompt_logprobs += _prompt_logprobs(logits[0], prefill.tokens[0, begin + 1 : begin + 1 + columns])
        if prefill.left:
            return False
        choose(prefill.rows, logits[:, -1].to(torch.float32, copy=True))
        return True

    def join(self, prefill: Prefill) -> None:
        """Take over the rows of ``prefill`` that are not over."""
        for index, row in enumerate(prefill.rows):
            self._keep(row, prefill.cache, index)
            if not row.over:
                self._cache.take(prefill.cache, index, max(one.left for one in (*self.rows, row)))
                self.rows.append(row)

    def step(self) -> None:
        """One token more for each row; rows that are over afterwards are to be dropped."""
        ahead = max(row.left for row in self.rows)
        self._cache.reserve(len(self.rows), self._cache.width, 1, ahead)
        last = torch.tensor([[row.tokens[-1].id] for row in self.rows], device=input_device(self._model))
        logits = self._forward(self._cache, self.rows, last)
        choose(self.rows, logits[:, -1].to(torch.float32, copy=True))

    def drop(self, gone: set[int]) -> None:
        """Remove rows, named by their ``id()``."""
        for index in range(len(self.rows) - 1, -1, -1):
            if id(self.rows[index]) in gone:
                self._keep(self.rows[index], self._cache, index)
                self._cache.drop(index)
                last = self.rows.pop()
                if index < len(self.rows):
                    self.rows[index] = last
        if not self.rows:
            self._cache = self._empty()  # its buffers are as large as the longest text was

    def empty(self) -> None:
        """Forget all rows: after a step that failed, their states may be half of one token and half of the next."""
        self.rows, self._cache = [], self._empty()

    def _keep(self, row: Row, cache: SlotCache, index: int) -> None:
        """What ran of a text: all but the last token."""
        if not row.plain or row.error is not None:
            return
        try:
            self.prefixes.keep(row.ids[0, :-1].tolist(), functools.partial(cache.states, index))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            logger.warning("memory ran out: beginnings of prompts are not kept any more")
            self.prefixes.stop()

    def _forward(
        self,
        cache: SlotCache,
        rows: Sequence[Row],
        tokens: torch.Tensor,
        first: bool = False,
        whole: bool = False,
        media: Media | None = None,
    ) -> torch.Tensor:
        """Scores of the last token of each row, or with ``whole`` of all, shape (rows, tokens, vocabulary)."""
        more: dict[str, Any] = {}
        if media is not None:
            more |= media.at(input_device(self._model), len(rows), tokens.shape[1])
        if self._takes_positions:
            more["position_ids"] = _positions(cache, rows, tokens.shape[1], media)
        if self._takes_last_only and not whole:
            more["logits_to_keep"] = 1
        inputs = self._model.prepare_inputs_for_generation(
            tokens,
            past_key_values=cache,
            attention_mask=cache.mask(tokens.shape[1]),
            use_cache=True,
            is_first_iteration=first,
            **more,
        )
        with torch.no_grad():
            logits: torch.Tensor = self._model(**inputs, return_dict=True).logits
        cache.advance(tokens.shape[1])
        return logits


def _positions(cache: SlotCache, rows: Sequence[Row], count: int, media: Media | None) -> torch.Tensor:
    """Positions of the next ``count`` tokens, shape (rows, tokens); (ways, rows, tokens) where they are several."""
    usual = cache.positions(count)
    if not rows[0].offsets:
        return usual
    offsets = torch.tensor([row.offsets for row in rows], device=usual.device)
    found = usual[None] + offsets.T[..., None]
    if media is not None and media.positions is not None:
        prompt = media.positions.to(usual.device)
        found[:, :, : prompt.shape[1]] = prompt[:, None]
    return found


def _prompt_logprobs(logits: torch.Tensor, following: torch.Tensor) -> list[float]:
    """Log-probability of each of the ``following`` tokens, given those before it."""
    scores = torch.log_softmax(logits[: len(following)].float(), -1)
    found: list[float] = scores.gather(1, following[:, None])[:, 0].tolist()
    return found
