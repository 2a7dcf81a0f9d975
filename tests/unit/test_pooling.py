"""Pooling against its definitions, one text after the other, and against sentence-transformers' own module."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.pooling import Pooled, pool, pool_rows

MODES = ("mean", "cls", "max", "last", "mean_sqrt_len_tokens", "weightedmean")
_WIDTH = 5


def _defined(tokens: Any, mode: str, skip: int) -> Any:
    """The vector of one text without padding, ``(tokens, width)``, by the definition."""
    start = skip if skip < len(tokens) else 0
    weights = np.arange(start + 1, len(tokens) + 1)
    tokens = tokens[start:]
    return {
        "mean": lambda: tokens.mean(0),
        "cls": lambda: tokens[0],
        "last": lambda: tokens[-1],
        "max": lambda: tokens.max(0),
        "mean_sqrt_len_tokens": lambda: tokens.sum(0) / math.sqrt(len(tokens)),
        "weightedmean": lambda: (tokens * weights[:, None]).sum(0) / weights.sum(),
    }[mode]()


def _padded(texts: list[Any], side: str, noise: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Texts of different lengths in one batch; what stands in the padding must not matter."""
    most = max(map(len, texts))
    features = torch.full((len(texts), most, _WIDTH), noise, dtype=torch.float64)
    mask = torch.zeros(len(texts), most, dtype=torch.long)
    for row, text in enumerate(texts):
        place = slice(most - len(text), most) if side == "left" else slice(0, len(text))
        features[row, place] = torch.from_numpy(text)
        mask[row, place] = 1
    return features, mask


texts = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 10)), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(shapes=texts, seed=st.integers(0, 2**32 - 1), side=st.sampled_from(["left", "right"]))
@pytest.mark.parametrize("mode", MODES)
def test_padding_never_enters(mode: str, shapes: list[tuple[int, int]], seed: int, side: str) -> None:
    chance = np.random.default_rng(seed)
    batch = [chance.normal(size=(length, _WIDTH)) for length, _ in shapes]
    skips = [skip for _, skip in shapes]
    for noise in (0.0, 1e6):
        features, mask = _padded(batch, side, noise)
        got = pool(features, mask, [mode], torch.tensor(skips))
        want = [_defined(text, mode, skip) for text, skip in zip(batch, skips, strict=True)]
        np.testing.assert_allclose(got, np.stack(want), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("mode", MODES)
def test_as_in_sentence_transformers(mode: str, side: str) -> None:
    from sentence_transformers.sentence_transformer.modules import Pooling

    chance = np.random.default_rng(0)
    features, mask = _padded([chance.normal(size=(length, _WIDTH)) for length in (4, 9, 6)], side, 7.0)
    theirs = Pooling(_WIDTH, "lasttoken" if mode == "last" else mode, include_prompt=False)
    for skip in (0, 2):
        given = {"token_embeddings": features.clone(), "attention_mask": mask.clone(), "prompt_length": skip}
        want = theirs(given)["sentence_embedding"]
        torch.testing.assert_close(pool(features, mask, [mode], torch.full((3,), skip)), want)


def test_half_precision_is_summed_up_in_single() -> None:
    features = torch.full((1, 4096, 2), 1.001, dtype=torch.bfloat16)
    mask = torch.ones(1, 4096, dtype=torch.long)
    got = pool(features, mask, ["mean", "weightedmean"], torch.zeros(1))
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, features[0, 0].float().repeat(2)[None])


def test_rows_pooled_differently_share_a_batch() -> None:
    features = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(4, 3, dtype=torch.long)
    rows = [Pooled(("mean",)), Pooled(), Pooled(("cls", "last"), own=True), Pooled(("mean",))]
    seen: list[torch.Size] = []

    def double(vectors: torch.Tensor) -> torch.Tensor:
        seen.append(vectors.shape)
        return 2 * vectors

    first, none, both, last = pool_rows(features, mask, rows, [double])
    assert none is None
    assert first is not None
    assert last is not None
    assert both is not None
    torch.testing.assert_close(first, features[0].mean(0))
    torch.testing.assert_close(last, features[3].mean(0))
    torch.testing.assert_close(both, 2 * torch.cat([features[2, 0], features[2, 2]]))
    assert seen == [(1, 4)]  # the model's own layers are for those alone that ask for them
