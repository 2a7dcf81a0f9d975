"""Whether a freshly loaded model answers a batch as it answers each input alone.

The same trial inputs, short and long, run alone and together; where the numbers differ by more than rounding, the model
is given a stricter mode: padded → equal shapes → alone.
"""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from PIL.Image import Image

from deployments.errors import PipelineGraphError
from deployments.run import PipelineRunner
from deployments.tasks.spec import BatchMode
from deployments.work import Chunk

logger = logging.getLogger("pipeline_graph.batch_check")

_STRICTER: dict[BatchMode, BatchMode] = {"padded": "equal", "equal": "alone"}
# relative to the largest number, by precision; batches are summed in another order
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4}
_TOLERANCE_HALF = 3e-2
_LONGER = 3  # times


def choose_mode(runner: PipelineRunner, example: Any, parameters: dict[str, Any]) -> None:
    """Set the batching mode of ``runner``, with the reason where it is not the task's own.

    Args:
        runner: a loaded pipeline that has answered ``example``.
        example: a decoded input.
        parameters: of the trial calls.
    """
    preparer = runner.preparer
    if getattr(runner.pipe, "model", None) is None:  # the stand-in of load trials has no numbers to compare
        return
    if preparer.mode == "padded" and not runner.forwarder.can_pad:
        preparer.mode, runner.mode_reason = "equal", runner.forwarder.no_padding_because
    _narrow(runner, example, parameters)
    runner.checked = preparer.mode, runner.mode_reason


def _narrow(runner: PipelineRunner, example: Any, parameters: dict[str, Any]) -> None:
    preparer, name = runner.preparer, runner.config.name
    while preparer.mode != "alone":
        trials = _trials(example, preparer.mode)
        try:
            difference = _difference(runner, trials, parameters)
        except PipelineGraphError as error:  # a trial that this model does not take shows nothing
            logger.warning("%s: whether %s batches are right could not be checked: %s", name, preparer.mode, error)
            unsure = f"{preparer.mode} batches could not be checked at start: {error}"
            runner.mode_reason = "; ".join(filter(None, [runner.mode_reason, unsure]))
            return
        if difference is None:
            return
        logger.warning("%s: batching %s is off: %s", name, preparer.mode, difference)
        runner.mode_reason = f"{preparer.mode} batches differ from single answers in the check at start: {difference}"
        preparer.mode = _STRICTER[preparer.mode]


def _trials(example: Any, mode: BatchMode) -> list[Any]:
    """Inputs that differ; in mode ``padded`` in their length too."""
    longer = _stretched(example, _LONGER)
    if mode == "padded":
        return [example, longer, _varied(example)]
    return [example, _varied(example), _varied(_varied(example))]


def _stretched(value: Any, times: int) -> Any:
    """``value`` with texts and sounds several times as long; images as they are."""
    if isinstance(value, str):
        return " ".join([value] * times)
    if isinstance(value, dict):
        kept = ("candidate_labels", "word_boxes", "table", "image")
        return {key: part if key in kept else _stretched(part, times) for key, part in value.items()}
    if isinstance(value, list):
        return [_stretched(part, times) for part in value]
    if hasattr(value, "ndim") and getattr(value, "ndim", 0) == 1:
        import numpy as np

        # another loudness in each part, so that normalisation over the whole shows
        return np.concatenate([value * (1 + part) for part in range(min(3, times))])
    return value


def _varied(value: Any) -> Any:
    """Another input of the same size."""
    if isinstance(value, str):
        words = value.split(" ")
        return " ".join([*words[1:], words[0]])
    if isinstance(value, dict):
        kept = ("candidate_labels", "word_boxes", "table")
        return {key: part if key in kept else _varied(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_varied(part) for part in value]
    if isinstance(value, Image):
        return value.rotate(90)
    if hasattr(value, "ndim") and getattr(value, "ndim", 0) >= 1:
        return value[::-1].copy()
    return value


def _difference(runner: PipelineRunner, trials: Sequence[Any], parameters: dict[str, Any]) -> str | None:
    """What differs between single and batched answers, in words; None if nothing does.

    Raises:
        PipelineGraphError: the model does not answer a trial alone.
    """
    single = [runner.run_together([one], parameters) for one in trials]
    outcomes, chunks = runner.run_together(trials, parameters)
    alone = [outcome for outcomes, _ in single for outcome in outcomes]
    for outcome in alone:
        if isinstance(outcome, PipelineGraphError):
            raise outcome
    return _compared(alone, outcomes) or _outputs_compared([chunk for _, part in single for chunk in part], chunks)


def _outputs_compared(alone: Sequence[Chunk], together: Sequence[Chunk]) -> str | None:
    """Compare what the model itself gave, before anything is rounded or left out."""
    for one, other in zip(alone, together, strict=True):
        outputs = one.call.outputs[one.position], other.call.outputs[other.position]
        if not all(hasattr(part, "items") for part in outputs):
            continue
        for name, value in outputs[0].items():
            batched = outputs[1].get(name)
            if not isinstance(value, torch.Tensor) or not isinstance(batched, torch.Tensor):
                continue
            if (
                value.is_floating_point()
                and value.shape == batched.shape
                and value.numel()
                and not _close(value, batched)
            ):
                return f"`{name}` by {float((value - batched).abs().max()):.2g}"
    return None


def _close(one: torch.Tensor, other: torch.Tensor) -> bool:
    finite = torch.isfinite(one) & torch.isfinite(other)
    if not torch.equal(torch.isfinite(one), torch.isfinite(other)):
        return False
    one, other = one[finite], other[finite]
    if not one.numel():
        return True
    most = _TOLERANCE.get(one.dtype, _TOLERANCE_HALF) * (1 + float(one.abs().max()))
    return bool((one - other).abs().max() <= most)


def _compared(alone: Any, together: Any, path: str = "answer") -> str | None:
    """The first place where two answers differ by more than rounding."""
    if isinstance(alone, float) and isinstance(together, float):
        same = abs(alone - together) <= _TOLERANCE_HALF * (1 + abs(alone)) or alone != alone
        return None if same else f"`{path}` is {together:.4g}, alone {alone:.4g}"
    if isinstance(alone, dict) and isinstance(together, dict) and alone.keys() == together.keys():
        pairs = [(alone[key], together[key], f"{path}.{key}") for key in alone]
    elif isinstance(alone, list | tuple) and isinstance(together, list | tuple) and len(alone) == len(together):
        pairs = [(alone[index], together[index], f"{path}[{index}]") for index in range(len(alone))]
    elif type(alone) is not type(together) or isinstance(alone, str | int | dict | list | tuple):
        return None if type(alone) is type(together) and alone == together else f"`{path}` differs"
    else:
        return None  # tensors and images are compared as the model gave them
    return next((found for pair in pairs if (found := _compared(*pair)) is not None), None)
