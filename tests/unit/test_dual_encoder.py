"""Labels encoded once: by all that the text side reads of them, and a bounded number at a time."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import BatchEncoding

from deployments.dual_encoder import DualEncoder, LabelCache, label_width


class Encoder:
    """Pools the last position, as SigLIP does, or the last token that is no padding, as CLIP does."""

    def __init__(self, last: bool) -> None:
        self.last = last
        self.rows: list[int] = []

    def __call__(self, input_ids: Any, attention_mask: Any = None, **_: Any) -> Any:
        self.rows.append(len(input_ids))
        end = torch.full((len(input_ids),), input_ids.shape[1]) if self.last else attention_mask.sum(1)
        pooled = torch.stack([row.cumsum(0)[: int(to)].double().prod() for row, to in zip(input_ids, end, strict=True)])
        return SimpleNamespace(pooler_output=pooled[:, None])


def _padded(*texts: list[int], width: int) -> dict[str, torch.Tensor]:
    ids = torch.tensor([text + [0] * (width - len(text)) for text in texts])
    mask = torch.tensor([[1] * len(text) + [0] * (width - len(text)) for text in texts])
    return {"input_ids": ids, "attention_mask": mask}


@pytest.mark.parametrize("last", [True, False])
@torch.inference_mode()
def test_each_label_gets_what_its_encoder_gives_whatever_was_asked_before(last: bool) -> None:
    encoder = Encoder(last)
    cache = LabelCache(encoder, reads_padding=last)
    for width in (5, 9, 5):
        asked = _padded([3, 4], [2, 5, 7], width=width)
        assert torch.equal(cache(**asked).pooler_output, encoder(**asked).pooler_output)


@torch.inference_mode()
def test_label_of_another_width_is_encoded_anew_only_where_padding_is_read() -> None:
    for last, runs in ((True, [2, 2]), (False, [2])):
        encoder = Encoder(last)
        cache = LabelCache(encoder, reads_padding=last)
        for width in (5, 9, 5, 9):
            cache(**_padded([3, 4], [2, 5, 7], width=width))
        assert encoder.rows == runs


@torch.inference_mode()
def test_padding_before_a_label_is_no_padding_behind_it() -> None:
    encoder = Encoder(False)
    cache = LabelCache(encoder, reads_padding=False)
    cache(**_padded([3, 4], width=4))
    cache(torch.tensor([[0, 0, 3, 4]]), torch.tensor([[0, 0, 1, 1]]))
    assert encoder.rows == [1, 1]


@torch.inference_mode()
def test_thousands_of_labels_are_encoded_a_bounded_number_at_a_time_and_once() -> None:
    encoder = Encoder(False)
    cache = LabelCache(encoder, reads_padding=False)
    asked = _padded(*([number + 1, 2] for number in range(1000)), width=4)
    found = cache(**asked).pooler_output
    assert max(encoder.rows) <= 64
    assert sum(encoder.rows) == 1000
    assert torch.equal(cache(**asked).pooler_output, found)
    assert torch.equal(Encoder(False)(**asked).pooler_output, found)
    assert sum(encoder.rows) == 1000


class _Tokenizer:
    def pad(self, texts: list[dict[str, list[int]]], return_tensors: str) -> Any:
        width = max(len(text["input_ids"]) for text in texts)
        return {
            name: torch.tensor([text[name] + [0] * (width - len(text[name])) for text in texts]) for name in texts[0]
        }


def test_joined_labels_stand_once_and_keep_their_tokens() -> None:
    sets = [_padded([3, 4], [5], width=3), _padded([5], [3, 4], [6, 7, 8, 9], width=4)]
    texts, spans = DualEncoder(_Tokenizer())._joined(sets)
    assert texts["input_ids"].tolist() == [[3, 4, 0, 0], [5, 0, 0, 0], [6, 7, 8, 9]]
    assert spans == [[0, 1], [1, 0, 2]]


@pytest.mark.parametrize(("kind", "width"), [("clip", None), ("clap", None), ("siglip", 9), ("siglip2", 9)])
def test_only_models_that_read_padding_need_labels_of_one_width(kind: str, width: int | None) -> None:
    pipe = SimpleNamespace(model=SimpleNamespace(config=SimpleNamespace(model_type=kind)))
    assert label_width(pipe, {"text_inputs": [BatchEncoding(_padded([3], width=9))]}) == width
    assert label_width(pipe, {"input_ids": torch.zeros(1, 3)}) is None
