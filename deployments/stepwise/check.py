"""Whether a freshly loaded model, stepping with prompts that join at different times, gives what ``generate`` gives."""

import copy
import logging
from collections.abc import Sequence
from typing import Any

import torch

from deployments.device_map import input_device
from deployments.stepwise.admission import Admission
from deployments.stepwise.capture import NotSteppableError, capture
from deployments.stepwise.options import GenerationOptions
from deployments.stepwise.row import Generation, Row
from deployments.stepwise.seq2seq import stepper_for
from deployments.stepwise.stepper import Stepper
from deployments.work import Call

logger = logging.getLogger("pipeline_graph.step_check")

TRIAL = {"max_new_tokens": 4, "do_sample": False, "num_beams": 1}
"""Generation settings of the prompts."""
_TOP = 5
# of log-probabilities, relative to the largest, by precision
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4}
_TOLERANCE_HALF = 3e-2


def check_steps(
    pipe: Any, admission: Admission, texts: Sequence[Call], media: Sequence[tuple[str, Sequence[Call]]] = ()
) -> None:
    """Leave in ``admission`` why the model must generate in whole batches, or with which media it can step.

    Args:
        pipe: the pipeline; no thread runs it yet.
        admission: of its calls.
        texts: prompts of different lengths, with the settings `TRIAL`.
        media: the same with media, several for each kind.
    """
    if not admission.enabled:
        return
    difference, _ = _difference(pipe, texts)
    if difference is not None:
        logger.warning("step-by-step generation is off: %s", difference)
        admission.reason = f"stepping differs from `generate` in the check at start: {difference}"
        return
    for kind, prompts in media:
        difference, names = _difference(pipe, [texts[0], *prompts, *texts[1:]])
        if difference is None:
            admission.media |= names
        else:
            logger.warning("step-by-step generation with %s is off: %s", kind, difference)


def _difference(pipe: Any, prompts: Sequence[Call]) -> tuple[str | None, frozenset[str]]:
    """What differs, in words, or None; and the names of the media that were in the prompts."""
    options = GenerationOptions(top_n_tokens=_TOP)
    try:
        inputs = [pipe.preprocess(call.inputs, **copy.deepcopy(call.preprocess)) for call in prompts]
        generations = [
            capture(pipe, given, call.forward, options, True) for given, call in zip(inputs, prompts, strict=True)
        ]
        _run(pipe.model, generations)
        for given, call, one in zip(inputs, prompts, generations, strict=True):
            difference = _compared(pipe, given, call, one.rows[0])
            if difference is not None:
                return difference, frozenset()
    except NotSteppableError as error:
        return str(error), frozenset()
    except Exception as error:  # whatever a model does not take, it can still generate as upstream does
        logger.info("step-by-step generation failed in the check at start", exc_info=error)
        return f"it raised {type(error).__name__}", frozenset()
    return None, frozenset(name for one in generations if one.media is not None for name in one.media.inputs)


def _run(model: Any, generations: Sequence[Generation]) -> None:
    """One prompt begins alone, the others join it a token later: those with media each by itself."""
    stepper = stepper_for(model)
    texts = [one for one in generations[1:] if one.media is None]
    alone = [[one] for one in generations[1:] if one.media is not None]
    for group in (generations[:1], *alone, texts):
        rows = [row for one in group for row in one.rows]
        if not rows:
            continue
        prefill = stepper.begin(rows, group[0].media)
        while not stepper.prefill(prefill, max(1, prefill.width * len(rows) // 2)):  # in two pieces
            pass
        stepper.join(prefill)
        if stepper.rows:
            _step(stepper)
    while stepper.rows:
        _step(stepper)


def _step(stepper: Stepper) -> None:
    stepper.step()
    stepper.drop({id(row) for row in stepper.rows if row.over})


def _compared(pipe: Any, inputs: Any, call: Call, row: Row) -> str | None:
    """The first token whose log-probabilities differ from those of ``generate``, in words."""
    if row.error is not None:
        return f"it raised {type(row.error).__name__}"
    model = pipe.model
    tensors = {name: value for name, value in inputs.items() if isinstance(value, torch.Tensor)}
    told = model.generate(
        **pipe._ensure_tensor_on_device(tensors, device=input_device(model)),
        output_logits=True,
        return_dict_in_generate=True,
        **call.forward.get("generate_kwargs", call.forward),
    )
    for index, token in enumerate(row.tokens):
        expected = torch.log_softmax(told.logits[index][0].float(), -1)
        ids = torch.tensor([one for one, _ in token.top], device=expected.device)
        mine = torch.tensor([logprob for _, logprob in token.top], device=expected.device)
        gap = float((expected[ids] - mine).abs().max())
        if not gap <= _TOLERANCE.get(model.dtype, _TOLERANCE_HALF) * (1 + float(mine.abs().max())):
            return f"log-probabilities by {gap:.2g}"
        if int(told.sequences[0, row.prompt_length + index]) != token.id:
            return None  # equally likely but for rounding; from here on the texts differ
    return None
