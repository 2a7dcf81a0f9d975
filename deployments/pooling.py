"""Token features → one vector for each text, on the model's device while the batch is together. Torch, no Ray."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

Layer = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Pooled:
    """How one row is pooled.

    Args:
        modes: of `pool`; none for the features of each token. Of several the vectors are put behind each other.
        own: whether the model's own layers follow.
        skip: tokens at the beginning that do not count (>=0).
    """

    modes: tuple[str, ...] = ()
    own: bool = False
    skip: int = 0


def pool(features: torch.Tensor, mask: torch.Tensor, modes: Sequence[str], skip: torch.Tensor) -> torch.Tensor:
    """One vector for each row.

    Args:
        features: ``(rows, tokens, width)``.
        mask: ``(rows, tokens)``, 0 for padding, on whichever side; it must not count.
        modes: ``mean``, ``cls`` (the first token), ``last`` (the last one), ``max``, ``mean_sqrt_len_tokens`` (the sum
            over the root of the number of tokens), ``weightedmean`` (the n-th token counts n times).
        skip: ``(rows,)``, tokens at the beginning that do not count either, unless the row has no others.

    Returns:
        ``(rows, width x modes)``, summed up in float32 at least.
    """
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    position = mask.cumsum(1) * mask  # from 1; 0 in padding
    counted = position > skip[:, None]
    counted = torch.where(counted.any(1, keepdim=True), counted, mask > 0)
    return torch.cat([_POOLS[mode](features, counted, position) for mode in modes], dim=-1)


def _weighted(features: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted sums ``(rows, width)`` and the sums of the weights ``(rows, 1)``, which are above 0."""
    weights = weights.to(features.dtype)
    return (features * weights[..., None]).sum(1), weights.sum(1, keepdim=True).clamp(min=1e-9)


def _mean(features: torch.Tensor, counted: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    total, count = _weighted(features, counted)
    return total / count


def _mean_sqrt(features: torch.Tensor, counted: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    total, count = _weighted(features, counted)
    return total / count.sqrt()


def _weighted_mean(features: torch.Tensor, counted: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
    total, count = _weighted(features, counted * position)
    return total / count


def _max(features: torch.Tensor, counted: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    return features.masked_fill(~counted[..., None], float("-inf")).amax(1)


def _first(features: torch.Tensor, counted: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    return features[torch.arange(len(features), device=features.device), counted.int().argmax(1)]


def _last(features: torch.Tensor, counted: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    return _first(features.flip(1), counted.flip(1), counted)


_POOLS: dict[str, Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_sqrt,
    "weightedmean": _weighted_mean,
    "max": _max,
    "cls": _first,
    "last": _last,
}


def pool_rows(
    features: torch.Tensor, mask: torch.Tensor, rows: Sequence[Pooled], layers: Sequence[Layer]
) -> list[torch.Tensor | None]:
    """The vector of each row that is pooled, on the CPU; None for the others. Rows pooled alike are pooled together."""
    vectors: list[torch.Tensor | None] = [None] * len(rows)
    for modes, own in dict.fromkeys((row.modes, row.own) for row in rows if row.modes):
        members = [index for index, row in enumerate(rows) if (row.modes, row.own) == (modes, own)]
        skip = torch.tensor([rows[index].skip for index in members], device=features.device)
        whole = len(members) == len(rows)
        chosen = (features, mask) if whole else (features[members], mask[members])
        vector = pool(*chosen, modes, skip)
        for layer in layers if own else ():
            vector = layer(vector.float())
        for index, one in zip(members, vector.cpu().unbind(0), strict=True):
            vectors[index] = one
    return vectors
