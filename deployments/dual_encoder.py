"""Images or sounds against candidate labels: different label sets in one batch, and labels encoded once.

A CLIP-like model scores every image of a batch against every text of it. Upstream's batch takes the labels of its first
image for all; here the label sets are joined, and each image keeps the scores of its own labels.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling

from deployments import collate
from deployments.tasks import TaskSpec

TASKS = ("zero-shot-image-classification", "zero-shot-audio-classification")
_CACHED_LABELS = 4096


class DualEncoder:
    """Joins rows of image or sound, each with labels of its own.

    Args:
        tokenizer: pads label sets to one width.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def forward(self, pipe: Any, rows: Sequence[Any], parameters: dict[str, Any]) -> list[dict[str, Any]]:
        """The outputs of each row: its labels, and logits of shape ``(1, labels)``."""
        media = [{key: row[key] for key in row if key not in ("text_inputs", "candidate_labels")} for row in rows]
        texts, spans = self._joined([row["text_inputs"][0] for row in rows])
        outputs = pipe.forward({**collate.stack(media), "candidate_labels": None, "text_inputs": [texts]}, **parameters)
        logits = outputs["logits"]
        return [
            {"candidate_labels": row["candidate_labels"], "logits": logits[index : index + 1, span]}
            for index, (row, span) in enumerate(zip(rows, spans, strict=True))
        ]

    def _joined(self, sets: Sequence[Any]) -> tuple[Any, list[list[int]]]:
        """One encoding with each different label text once, and where the labels of each set are in it."""
        numbers: dict[tuple[int, ...], int] = {}
        texts: list[dict[str, Any]] = []
        spans: list[list[int]] = []
        # SigLIP reads the padding of its fixed width too, so it stays where all are of one width
        one_width = len({encoded["input_ids"].shape[1] for encoded in sets}) == 1
        for encoded in sets:
            span = []
            for index in range(encoded["input_ids"].shape[0]):
                mask = None if one_width else encoded.get("attention_mask")
                keep = slice(None) if mask is None else mask[index].bool()
                text = {key: value[index][keep].tolist() for key, value in encoded.items()}
                number = numbers.setdefault(tuple(text["input_ids"]), len(numbers))
                if number == len(texts):
                    texts.append(text)
                span.append(number)
            spans.append(span)
        return self._tokenizer.pad(texts, return_tensors="pt"), spans


class LabelCache:
    """Text encodings of labels by their tokens, in place of ``text_model.forward``; the least used are forgotten.

    Args:
        encode: the text model's own ``forward``.
    """

    def __init__(self, encode: Any) -> None:
        self._encode = encode
        self._known: OrderedDict[tuple[Any, ...], torch.Tensor] = OrderedDict()
        self.enabled = True

    def __call__(self, input_ids: Any = None, attention_mask: Any = None, **rest: Any) -> Any:
        """As the text model's, with the pooled output alone."""
        plain = all(value is None or value is False or name == "return_dict" for name, value in rest.items())
        if not self.enabled or input_ids is None or torch.is_grad_enabled() or not plain:
            return self._encode(input_ids=input_ids, attention_mask=attention_mask, **rest)
        keys = _keys(input_ids, attention_mask)
        missing = [index for index, key in enumerate(keys) if key not in self._known]
        if missing:
            mask = None if attention_mask is None else attention_mask[missing]
            found = self._encode(input_ids=input_ids[missing], attention_mask=mask, **rest)
            pooled = getattr(found, "pooler_output", None)
            if pooled is None:  # not a text model of this kind
                self.enabled = False
                return self._encode(input_ids=input_ids, attention_mask=attention_mask, **rest)
            for index, row in zip(missing, pooled, strict=True):
                self._known[keys[index]] = row.clone()
        rows = [self._known[key] for key in keys]
        for key in keys:
            self._known.move_to_end(key)
        while len(self._known) > _CACHED_LABELS:
            self._known.popitem(last=False)
        return BaseModelOutputWithPooling(pooler_output=torch.stack(rows))


def _keys(input_ids: torch.Tensor, mask: torch.Tensor | None) -> list[tuple[Any, ...]]:
    """The tokens of each text without its padding."""
    if mask is None:
        return [tuple(row) for row in input_ids.tolist()]
    return [tuple(row[keep].tolist()) for row, keep in zip(input_ids, mask.bool(), strict=True)]


def wrap(pipe: Any, spec: TaskSpec) -> DualEncoder | None:
    """Joins and caches for ``pipe``, or None for a task without candidate labels in its model."""
    if spec.name not in TASKS:
        return None
    text_model = getattr(pipe.model, "text_model", None)
    # only where the whole model uses nothing but the pooled output of its text side
    if text_model is not None and pipe.model.config.model_type in ("clip", "siglip", "clap"):
        text_model.forward = LabelCache(text_model.forward)
    return DualEncoder(pipe.tokenizer)
