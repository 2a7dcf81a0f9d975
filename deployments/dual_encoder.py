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
_AT_ONCE = 64  # labels in one forward of the text side: a request may have thousands
_UNREAD_PADDING = ("clip", "clap")  # whose text side pools at the end token or at the first, and reads no padding


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
        numbers: dict[tuple[Any, ...], int] = {}
        texts: list[dict[str, Any]] = []
        spans: list[list[int]] = []
        # SigLIP reads the padding of its fixed width too, so it stays where all are of one width (`label_width`)
        one_width = len({encoded["input_ids"].shape[1] for encoded in sets}) == 1
        for encoded in sets:
            span = []
            for index in range(encoded["input_ids"].shape[0]):
                mask = None if one_width else encoded.get("attention_mask")
                own = _unpadded(mask[index]) if mask is not None else None
                text = {key: value[index][:own].tolist() for key, value in encoded.items()}
                number = numbers.setdefault((*map(tuple, text.values()),), len(numbers))
                if number == len(texts):
                    texts.append(text)
                span.append(number)
            spans.append(span)
        return self._tokenizer.pad(texts, return_tensors="pt"), spans


class LabelCache:
    """Text encodings of labels by their tokens, in place of ``text_model.forward``; the least used are forgotten.

    Args:
        encode: the text model's own ``forward``.
        reads_padding: whether padding is part of the text to it.
    """

    def __init__(self, encode: Any, reads_padding: bool) -> None:
        self._encode = encode
        self._reads_padding = reads_padding
        self._known: OrderedDict[tuple[Any, ...], torch.Tensor] = OrderedDict()
        self.enabled = True

    def __call__(self, input_ids: Any = None, attention_mask: Any = None, **rest: Any) -> Any:
        """As the text model's, with the pooled output alone."""
        plain = all(value is None or value is False or name == "return_dict" for name, value in rest.items())
        if not self.enabled or input_ids is None or torch.is_grad_enabled() or not plain:
            return self._encode(input_ids=input_ids, attention_mask=attention_mask, **rest)
        keys = self._keys(input_ids, attention_mask)
        missing = [index for index, key in enumerate(keys) if key not in self._known]
        for start in range(0, len(missing), _AT_ONCE):
            some = missing[start : start + _AT_ONCE]
            mask = None if attention_mask is None else attention_mask[some]
            found = self._encode(input_ids=input_ids[some], attention_mask=mask, **rest)
            pooled = getattr(found, "pooler_output", None)
            if pooled is None:  # not a text model of this kind
                self.enabled = False
                return self._encode(input_ids=input_ids, attention_mask=attention_mask, **rest)
            for index, row in zip(some, pooled, strict=True):
                self._known[keys[index]] = row.clone()
        rows = [self._known[key] for key in keys]
        for key in keys:
            self._known.move_to_end(key)
        while len(self._known) > _CACHED_LABELS:
            self._known.popitem(last=False)
        return BaseModelOutputWithPooling(pooler_output=torch.stack(rows))

    def _keys(self, input_ids: torch.Tensor, mask: torch.Tensor | None) -> list[tuple[Any, ...]]:
        """The tokens of each text, without padding behind them where that is not read, and which of them it attends."""
        if mask is None:
            return [tuple(row) for row in input_ids.tolist()]
        own = [None if self._reads_padding else _unpadded(row) for row in mask]
        rows = zip(input_ids, mask, own, strict=True)
        return [(tuple(tokens[:end].tolist()), tuple(seen[:end].tolist())) for tokens, seen, end in rows]


def _unpadded(mask: torch.Tensor) -> int:
    """Tokens of a text without the padding behind it; what stands before it shifts positions, and counts."""
    return int(mask.nonzero()[-1]) + 1 if mask.any() else 0


def label_width(pipe: Any, row: Any) -> int | None:
    """What labels of two chunks must have in common to be joined: their padded width, where the model reads padding."""
    if "text_inputs" not in row or pipe.model.config.model_type in _UNREAD_PADDING:
        return None
    return int(row["text_inputs"][0]["input_ids"].shape[1])


def wrap(pipe: Any, spec: TaskSpec) -> DualEncoder | None:
    """Joins and caches for ``pipe``, or None for a task without candidate labels in its model."""
    if spec.name not in TASKS:
        return None
    text_model = getattr(pipe.model, "text_model", None)
    # only where the whole model uses nothing but the pooled output of its text side
    kind = pipe.model.config.model_type
    if text_model is not None and kind in (*_UNREAD_PADDING, "siglip"):
        text_model.forward = LabelCache(text_model.forward, kind not in _UNREAD_PADDING)
    return DualEncoder(pipe.tokenizer)
