"""Stage two: chunks → the model's outputs for each, one device batch at a time. No Ray; the model's thread.

A batch that fails is halved and tried again until the chunk at fault stands alone, so that only its caller fails: at
most twice as many forwards as chunks. A batch too large for the memory is halved too, and its size remembered.
"""

import copy
import functools
import gc
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from deployments import collate, dual_encoder
from deployments.cost import ForwardCost
from deployments.errors import PayloadTooLargeError
from deployments.observe import Observer
from deployments.plan import Limits, padded_cost, padding_waste
from deployments.ranks import RankLostError
from deployments.tasks import TaskSpec
from deployments.work import Chunk

logger = logging.getLogger("pipeline_graph.forward")

_TOO_LARGE = "This input alone needs more memory than the model's device has: send a smaller one."


class Forwarder:
    """Runs the model of one pipeline.

    Args:
        pipe: the pipeline; nothing but this thread calls its model.
        spec: its task.
        observer: is told of every batch.
    """

    def __init__(self, pipe: Any, spec: TaskSpec, observer: Observer) -> None:
        self._pipe = pipe
        self._spec = spec
        self._observer = observer
        self._collate, self.no_padding_because = collate.collator(pipe)
        self._dual = dual_encoder.wrap(pipe, spec)
        self.ceiling: float | None = None  # padded cost that fitted into memory after one that did not
        self.cost = ForwardCost()
        self.lost: str | None = None  # why the device cannot be used any more
        self.news: Callable[[Chunk, int], None] = lambda chunk, index: None  # told of each token of a streamed chunk

    @property
    def can_pad(self) -> bool:
        """Whether upstream's padding join exists for this pipeline."""
        return self._collate is not None

    def limits(self, limits: Limits, seconds: float | None = None) -> Limits:
        """``limits`` below the ceiling that memory set, and for batches that take about ``seconds`` at most."""
        most = limits.max_padded_cost
        if self.ceiling is not None:
            most = min(most, self.ceiling)
        within = None if seconds is None else self.cost.padded_within(seconds)
        if within is not None:
            most = min(most, within)
        return Limits(limits.max_items, most, limits.max_padding_waste, self.cost.forward_cost)

    def run(self, batch: Sequence[Chunk]) -> None:
        """Put the outputs of each chunk into its call, or the error into its request."""
        for chunk in batch:
            if chunk.call.streamed is not None:
                chunk.call.streamed.tell = functools.partial(self.news, chunk)
        started = time.perf_counter()
        try:
            outputs = self._forward(batch)
            failure: BaseException | None = None
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # as a tokenizer's panic
            failure = error
        if failure is None:
            spent = time.perf_counter() - started
            self._note(batch, spent)
            for chunk, output in zip(batch, outputs, strict=True):
                chunk.call.outputs[chunk.position] = output
            return
        # outside of the handler, whose traceback would hold the tensors of the failed try
        self._recover(batch, failure)

    def _recover(self, batch: Sequence[Chunk], failure: BaseException) -> None:
        if device_lost(failure):  # whoever was in this batch may be at fault, and is not asked for elsewhere
            self.lost = type(failure).__name__
            for chunk in batch:
                chunk.work.error = failure
            return
        out_of_memory = is_out_of_memory(failure)
        if len(batch) == 1:
            work = batch[0].work
            work.error = failure if not out_of_memory else PayloadTooLargeError(_TOO_LARGE, "inputs")
            if out_of_memory:
                _free_memory()
            return
        logger.info("a batch of %d failed (%s); it is halved", len(batch), type(failure).__name__)
        if out_of_memory:
            failure.__traceback__ = None
            del failure
            _free_memory()
            self.ceiling = min(padded_cost(batch) / 2, self.ceiling or float("inf"))
            self._observer.ceiling(self.ceiling)
        else:
            self._observer.split(len(batch))
        half = (len(batch) + 1) // 2
        for part in (batch[:half], batch[half:]):
            self.run(part)

    def _note(self, batch: Sequence[Chunk], spent: float) -> None:
        waste = padding_waste(batch)
        self._observer.batch(len(batch), waste, spent)
        self.cost.note(padded_cost(batch), spent, len(batch))
        for work in {id(chunk.work): chunk.work for chunk in batch}.values():
            work.forward_s += spent
            work.batch_size = max(work.batch_size, len(batch))
            work.padding_waste = max(work.padding_waste, waste)

    def _forward(self, batch: Sequence[Chunk]) -> list[Any]:
        first = batch[0]
        parameters = _own(first.call.forward)
        if self._spec.prepares_with_model:
            return [self._whole(first)]
        if len(batch) == 1:
            return [_without_last(self._pipe.forward(_own(first.inputs), **parameters))]
        rows = [chunk.inputs for chunk in batch]
        if self._dual is not None:
            return self._dual.forward(self._pipe, rows, parameters)
        outputs = self._pipe.forward(self._join(rows), **parameters)
        parts = [_without_last(part) for part in collate.split(outputs, len(rows))]
        self._trim(parts, rows)
        return parts

    def _whole(self, chunk: Chunk) -> Any:
        """All of a call whose preprocessing runs the model; the outputs of its own chunks."""
        call = chunk.call
        rows = self._pipe.preprocess(call.inputs, **copy.deepcopy(call.preprocess))
        outputs = [_without_last(self._pipe.forward(row, **_own(call.forward))) for row in rows]
        call.outputs = [*outputs[:-1], None]
        chunk.position = len(outputs) - 1
        return outputs[-1]

    def _join(self, rows: Sequence[Any]) -> Any:
        if self._collate is None or len({collate.signature(row, "equal") for row in rows}) == 1:
            return collate.stack(rows)
        return self._collate(list(rows))

    def _trim(self, parts: list[Any], rows: Sequence[Any]) -> None:
        if not self._spec.trims:
            return
        side = getattr(self._pipe.tokenizer, "padding_side", "right")
        widths = [int(row["input_ids"].shape[1]) for row in rows if "input_ids" in row]
        if len(widths) != len(rows):
            return
        for part, width in zip(parts, widths, strict=True):
            collate.trim(part, self._spec.trims, max(widths), width, side)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that a device or the machine has no memory left for this batch."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator: can't allocate memory" in str(error)


def device_lost(error: BaseException) -> bool:
    """Whether ``error`` leaves the device unusable: a failed assertion or access on a GPU, or a lost rank."""
    import torch

    if isinstance(error, RankLostError):
        return True
    if isinstance(error, getattr(torch, "AcceleratorError", ())) and not is_out_of_memory(error):
        return True
    return isinstance(error, RuntimeError) and "CUDA error" in str(error) and not is_out_of_memory(error)


def _free_memory() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _own(value: Any) -> Any:
    """A copy that upstream may take keys out of, one level of dictionaries deep."""
    mine = copy.copy(value)
    if isinstance(mine, dict):
        return {key: dict(part) if type(part) is dict else part for key, part in mine.items()}
    return mine


def _without_last(outputs: Any) -> Any:
    """Upstream's mark of the last chunk is the iterator's alone."""
    if isinstance(outputs, dict) and "is_last" in outputs:
        del outputs["is_last"]
    return outputs
