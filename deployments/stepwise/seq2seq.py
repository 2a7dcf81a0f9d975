"""Stepping of encoder-decoder models: a row's text is read once by the encoder, and its answer grows as any other's."""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers.cache_utils import EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from deployments.device_map import input_device
from deployments.stepwise.media import Media, Source
from deployments.stepwise.row import Row
from deployments.stepwise.slots import SlotCache
from deployments.stepwise.source import SourceSlots
from deployments.stepwise.stepper import Stepper


class PairedSlots(SlotCache):
    """The decoder's own cache, and beside it what it reads of the encoder.

    Args:
        model: an encoder-decoder.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.source = SourceSlots(len(self.layers))
        self.pair = EncoderDecoderCache(self, self.source)  # what the model takes

    def take(self, other: SlotCache, row: int, ahead: int) -> None:
        """See `SlotCache`."""
        assert isinstance(other, PairedSlots)
        super().take(other, row, ahead)
        self.source.take(other.source, row)
        self.pair.is_updated = dict.fromkeys(range(len(self.layers)), True)

    def drop(self, row: int) -> None:
        """See `SlotCache`."""
        super().drop(row)
        self.source.drop(row)


class Seq2SeqStepper(Stepper):
    """Some rows of an encoder-decoder model with their caches. One thread.

    Args:
        model: with a text encoder; its decoder counts positions by the cache's length, or by the distance of tokens.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self._table = getattr(model.get_decoder(), "embed_positions", None)

    def _empty(self) -> SlotCache:
        return PairedSlots(self._model)

    def _forward(
        self,
        cache: SlotCache,
        rows: Sequence[Row],
        tokens: torch.Tensor,
        first: bool = False,
        whole: bool = False,
        media: Media | None = None,
    ) -> torch.Tensor:
        """See `Stepper`; with ``media``, which is a `Source`, the encoder runs first."""
        assert isinstance(cache, PairedSlots)
        device, count = input_device(self._model), tokens.shape[1]
        read = self._read(cache, media, len(rows))
        starts = cache.positions(count)[:, 0].tolist()
        with torch.no_grad(), _placed(self._table, starts, count):
            logits: torch.Tensor = self._model(
                encoder_outputs=BaseModelOutput(last_hidden_state=read),
                attention_mask=cache.source.mask(device),
                decoder_input_ids=tokens,
                decoder_attention_mask=cache.mask(count),
                past_key_values=cache.pair,
                use_cache=True,
                return_dict=True,
            ).logits
        cache.advance(count)
        return logits

    def _read(self, cache: PairedSlots, media: Media | None, rows: int) -> torch.Tensor:
        """What the encoder says, shape (rows, columns, size); later its shape alone, as the cache has all of it."""
        device = input_device(self._model)
        if media is None:
            return torch.zeros(1, 1, 1, device=device).expand(rows, cache.source.width, 1)
        assert isinstance(media, Source)
        cache.source.begin(rows, media.read)
        with torch.no_grad():
            given = {name: value.to(device) for name, value in media.inputs.items()}
            read: torch.Tensor = self._model.get_encoder()(**given, return_dict=True).last_hidden_state
        return read.expand(rows, -1, -1)


def stepper_for(model: Any) -> Stepper:
    """The one that ``model`` needs."""
    return Seq2SeqStepper(model) if model.config.is_encoder_decoder else Stepper(model)


@contextmanager
def _placed(table: Any, starts: Sequence[int], count: int) -> Iterator[None]:
    """Within, a decoder's table of positions counts the next ``count`` tokens of each row from a start of its own.

    Upstream's decoders of BART's family (BART, mBART, Marian, Pegasus, M2M100, NLLB, ...) have one position for all
    rows: the length of the cache. What their tables take differs, but all are told ``past_key_values_length``. The
    check at start (`deployments.stepwise.check`) finds decoders with which this does not do.
    """
    if table is None or len(set(starts)) == 1:  # which is the length of the cache
        yield
        return
    upstream, before = table.forward, table.__dict__.get("forward")
    signature = inspect.signature(upstream)

    def forward(*args: Any, **kwargs: Any) -> torch.Tensor:
        given = signature.bind(*args, **kwargs).arguments
        rows = []
        for row, start in enumerate(starts):
            mine = {name: value[row : row + 1] if _has_rows(value) else value for name, value in given.items()}
            mine["past_key_values_length"] = start
            if "position_ids" in signature.parameters:
                mine["position_ids"] = torch.arange(start, start + count, device=given["position_ids"].device)
            rows.append(upstream(**mine).reshape(1, count, -1))
        return torch.cat(rows)

    table.forward = forward
    try:
        yield
    finally:
        if before is None:
            del table.forward
        else:  # accelerate's, which moves tensors between devices
            table.forward = before


def _has_rows(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.ndim > 1
