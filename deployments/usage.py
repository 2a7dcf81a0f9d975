"""What an answer took, in tokens: those that the model read, without padding, and those that it wrote. No Ray."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from deployments.generation import end_tokens, settings
from deployments.payload import Usage, total
from deployments.work import Call, Work


def read_tokens(rows: Iterable[Any]) -> int | None:
    """Tokens of a call's ``rows`` for the model, special ones included and padding not; None where none has any."""
    texts = [text for row in rows if hasattr(row, "keys") for text in _texts(row)]
    counts = [_tokens(text) for text in texts if isinstance(text.get("input_ids"), torch.Tensor)]
    return sum(counts) if counts else None


def _texts(row: Any) -> list[Any]:
    """Of ``decision`` each prompt with its questions, elsewhere ``row`` itself."""
    return [text for text, _ in row["prompts"]] if "prompts" in row else [row]


def _tokens(row: Any) -> int:
    ids, mask = row["input_ids"], row.get("attention_mask")
    if isinstance(mask, torch.Tensor) and mask.shape == ids.shape:
        return int(mask.sum())
    return int(ids.numel())


def usage_of(pipe: Any, work: Work) -> Usage | None:
    """Tokens of a request that is through, all its calls together; None where one of them is not counted in tokens.

    Args:
        pipe: the pipeline, with a tokenizer of this thread.
        work: its calls have their outputs, as the model gave them.
    """
    return total(_of_call(pipe, call) for call in work.calls)


def _of_call(pipe: Any, call: Call) -> Usage | None:
    if call.generation is not None:
        rows = call.generation.rows
        finish = tuple(str(row.finish) for row in rows)
        return Usage(call.generation.input_length, sum(len(row.tokens) for row in rows), finish)
    if call.tokens is None:
        return None
    written = _written(pipe, call)
    return Usage(call.tokens, sum(count for count, _ in written), tuple(finish for _, finish in written))


def _written(pipe: Any, call: Call) -> list[tuple[int, str]]:
    """Of each answer that ``generate`` wrote: its tokens up to and with the end token, and how it ended."""
    outputs = call.outputs[0]
    force = settings(pipe, call.forward)
    if not force or not isinstance(outputs, Mapping):
        return []
    sequences = outputs.get("generated_sequence", outputs.get("output_ids"))
    if not isinstance(sequences, torch.Tensor) or call.postprocess.get("generation_mode") not in (None, "text"):
        return []
    flat = sequences.reshape(-1, sequences.shape[-1])
    begin = _begin(pipe, outputs.get("input_ids"), flat)
    return [_ended(pipe, force, call.stops, ids) for ids in flat[:, begin:].tolist()]


def _begin(pipe: Any, prompt: Any, sequences: torch.Tensor) -> int:
    """Where the new tokens begin: behind the prompt, or behind the one token with which a decoder starts."""
    if pipe.model.config.is_encoder_decoder or prompt is None:
        return 1
    width = int(prompt.shape[-1])
    kept = sequences.shape[1] >= width and bool((sequences[:, :width] == prompt.reshape(-1, width)[:1]).all())
    return width if kept else 0  # some models leave the prompt out


def _ended(pipe: Any, force: Mapping[str, Any], stops: Iterable[str], ids: list[int]) -> tuple[int, str]:
    ends = end_tokens(force)
    end = next((index for index, token in enumerate(ids) if token in ends), None)
    written = ids if end is None else ids[:end]
    while written and written[-1] == force.get("pad_token_id"):
        written = written[:-1]
    if _stopped(pipe, written, stops):
        return len(written), "stop_sequence"  # an end token behind it is padding
    return (len(written), "length") if end is None else (end + 1, "eos_token")


def _stopped(pipe: Any, ids: list[int], stops: Iterable[str]) -> bool:
    text = pipe.tokenizer.decode(ids) if stops else ""
    return any(stop in text for stop in stops)
