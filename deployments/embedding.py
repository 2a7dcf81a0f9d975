"""The feature-extraction pipeline with what makes embeddings of its features: prompts, pooling, dimensions, length 1.

What a caller asks for travels with each row, so that requests with different poolings, and those without, share a batch
of the model; the token features of a pooled text never leave the model's device.
"""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import FeatureExtractionPipeline

from deployments.errors import InvalidInputError, InvalidParameterError
from deployments.pooling import Pooled, pool_rows
from deployments.prepare import position_limit
from deployments.sentence_modules import SentenceModules

_POOLED = "pooling"  # key of the rows' `Pooled` beside their tensors
_VECTOR = "embedding"
_NO_LIMIT = 1_000_000  # tokenizers without a limit of their own say 1e30


@dataclass(frozen=True)
class Reading:
    """How a text is read.

    Args:
        pooling: ``none``, ``auto`` (as the model's authors do it) or a mode of `deployments.pooling.pool`.
        prompt: put before the text.
        truncate: cut it to the model's maximum.
        side: where it is cut, ``left`` or ``right``; None leaves that to the tokenizer.
    """

    pooling: str = "none"
    prompt: str = ""
    truncate: bool = False
    side: str | None = None


@dataclass(frozen=True)
class Shape:
    """What becomes of the numbers.

    Args:
        normalize: length 1; None as the model does it.
        dimensions: how many of each vector stay, from the first (>=1), or None for all.
        base64: little-endian float32 as base64 instead of numbers.
    """

    normalize: bool | None = None
    dimensions: int | None = None
    base64: bool = False


class EmbeddingPipeline(FeatureExtractionPipeline):  # type: ignore[misc]
    """``FeatureExtractionPipeline``, and embeddings where a call asks for them; see ``docs/embeddings.md``."""

    own = SentenceModules()
    most_tokens: int | None = None

    def attach(self, own: SentenceModules) -> None:
        """Take over what the model says of its embeddings."""
        self.own = own
        limits = [position_limit(self.model), self.tokenizer.model_max_length]
        limits.append(getattr(self.model.config, "max_position_embeddings", None))
        self.most_tokens = min((limit for limit in limits if limit and 0 < limit < _NO_LIMIT), default=None)

    def about(self) -> dict[str, Any]:
        """For ``/models/{name}/info``."""
        prompts = sorted(self.own.prompts)
        return {"pooling": list(self.own.modes), "prompts": prompts, "max_tokens": self._most(auto=True)}

    def _sanitize_parameters(
        self,
        pooling: str | None = None,
        normalize: bool | None = None,
        dimensions: int | None = None,
        truncate: bool | None = None,
        truncation_direction: str | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        encoding_format: str | None = None,
        **upstream: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        preprocess, forward, postprocess = super()._sanitize_parameters(**upstream)
        as_base64 = encoding_format == "base64"
        asked = as_base64 or any(value is not None for value in (normalize, dimensions, prompt_name, prompt))
        pooling = pooling or ("auto" if asked else "none")
        self._check(pooling, prompt, prompt_name, as_base64, upstream.get("return_tensors"))
        before = self._prompt(pooling, prompt, prompt_name)
        reading = Reading(pooling, before, bool(truncate), truncation_direction)
        if reading != Reading():
            preprocess["reading"] = reading
        if pooling == "auto" and normalize is None:
            normalize = self.own.normalizes
        shape = Shape(normalize, dimensions, as_base64)
        if shape != Shape():
            postprocess["shape"] = shape
        return preprocess, forward, postprocess

    def _check(
        self, pooling: str, prompt: str | None, prompt_name: str | None, as_base64: bool, return_tensors: Any
    ) -> None:
        """Refuse what cannot be done together, or not with this model."""
        if pooling == "auto" and self.own.unknown is not None:
            raise _refused("pooling", f"must be named: this model pools with {self.own.unknown}, unknown here")
        if prompt is not None and prompt_name is not None:
            raise _refused("prompt", "and `parameters.prompt_name` cannot both be given")
        if prompt_name is not None and prompt_name not in self.own.prompts:
            known = ", ".join(sorted(self.own.prompts))
            known = f"its prompts are {known}" if known else "it has none; send the text as `prompt`"
            raise _refused("prompt_name", f"{prompt_name[:60]!r} is no prompt of this model: {known}")
        if as_base64 and pooling == "none":
            raise _refused("encoding_format", "base64 is for embeddings; `pooling: none` gives the features of tokens")
        if as_base64 and return_tensors:
            raise _refused("return_tensors", "cannot be had as base64")

    def _prompt(self, pooling: str, prompt: str | None, prompt_name: str | None) -> str:
        if prompt is not None:
            return prompt
        if prompt_name is None and pooling == "auto":
            prompt_name = self.own.default_prompt
        return self.own.prompts.get(prompt_name or "", "")

    def _most(self, auto: bool) -> int | None:
        """Tokens that a text may have; fewer for the embeddings of a model whose authors say so."""
        limits = [self.most_tokens, self.own.max_tokens if auto else None]
        return min((limit for limit in limits if limit is not None), default=None)

    def preprocess(self, inputs: Any, reading: Reading | None = None, **tokenize_kwargs: Any) -> Any:
        """One text → its row for the model, with the `Pooled` of it.

        Raises:
            InvalidInputError: it has more tokens than the model's embeddings are made for.
        """
        reading = reading or Reading()
        auto = reading.pooling == "auto"
        most = self._most(auto)
        text = reading.prompt + inputs if reading.prompt else inputs
        if auto and self.own.lower_case:
            text = text.lower()
        if reading.truncate and most is not None:
            tokenize_kwargs = {"truncation": True, "max_length": most, **tokenize_kwargs}
        with _side(self.tokenizer, reading.side):
            row = super().preprocess(text, **tokenize_kwargs)
        tokens = int(row["input_ids"].shape[-1])
        if auto and most is not None and tokens > most:
            raise InvalidInputError(
                f"`inputs` has {tokens} tokens and this model's embeddings are of at most {most}: shorten it, or send "
                "`truncate: true`.",
                "inputs",
            )
        row[_POOLED] = self._pooled(reading)
        return row

    def _pooled(self, reading: Reading) -> Pooled:
        if reading.pooling == "none":
            return Pooled()
        if reading.pooling != "auto":
            return Pooled((reading.pooling,))
        skip = 0 if self.own.include_prompt or not reading.prompt else self._length(reading.prompt)
        return Pooled(self.own.modes, True, skip)

    def _length(self, prompt: str) -> int:
        """Tokens of ``prompt`` at the beginning of a text: without the special one at its end."""
        ids = self.tokenizer(prompt)["input_ids"]
        return len(ids) - (ids[-1] in self.tokenizer.all_special_ids)

    def _forward(self, model_inputs: Any) -> Any:
        inputs = dict(model_inputs)
        given = inputs.pop(_POOLED, Pooled())
        rows = given if isinstance(given, list) else [given]
        outputs = super()._forward(inputs)
        if not any(row.modes for row in rows):
            return outputs
        features = outputs[0]
        vectors = pool_rows(features, self._mask(inputs, features), rows, self.own.layers)
        if not isinstance(given, list):
            return {_VECTOR: torch.stack([vector for vector in vectors if vector is not None])}
        kept = [None if row.modes else one for row, one in zip(rows, features, strict=True)]
        return {_VECTOR: vectors, next(iter(outputs)): kept}

    def _mask(self, inputs: dict[str, Any], features: torch.Tensor) -> torch.Tensor:
        """``(rows, tokens)``, 0 for padding."""
        mask = inputs.get("attention_mask")
        if isinstance(mask, torch.Tensor) and mask.shape == features.shape[:2]:
            return mask.to(features.device)
        return torch.ones(features.shape[:2], dtype=torch.long, device=features.device)

    def postprocess(self, model_outputs: Any, return_tensors: bool = False, shape: Shape | None = None) -> Any:
        """Features or the vector of one text, in the shape asked for.

        Raises:
            InvalidParameterError: more dimensions than there are.
        """
        vector = model_outputs.get(_VECTOR)
        value = vector[0] if vector is not None else next(part for part in model_outputs.values() if part is not None)
        if shape is not None:
            value = _shaped(value, shape)
            if shape.base64:
                return base64.b64encode(np.asarray(value.float(), "<f4").tobytes()).decode("ascii")
        return value if return_tensors else value.tolist()


def _shaped(value: torch.Tensor, shape: Shape) -> torch.Tensor:
    """``value`` cut along its last dimension, then of length 1."""
    if shape.dimensions is not None:
        if shape.dimensions > value.shape[-1]:
            raise _refused("dimensions", f"is {shape.dimensions}; this model's vectors have {value.shape[-1]}")
        value = value[..., : shape.dimensions]
    return torch.nn.functional.normalize(value, dim=-1) if shape.normalize else value


def _refused(name: str, why: str) -> InvalidParameterError:
    return InvalidParameterError(f"`parameters.{name}` {why}.", f"parameters.{name}")


@contextmanager
def _side(tokenizer: Any, side: str | None) -> Iterator[None]:
    """Cut on ``side`` for now; a tokenizer belongs to one thread."""
    before = tokenizer.truncation_side
    tokenizer.truncation_side = side or before
    try:
        yield
    finally:
        tokenizer.truncation_side = before
