"""Torch tensors ↔ `Tensor`, so that values can cross to processes without torch."""

from collections.abc import Callable
from typing import Any

import numpy as np

from deployments.payload import Tensor


def pack_tensors(value: Any) -> Any:
    """``value`` with every torch tensor in it as `Tensor`."""
    return _walk(value, _pack)


def unpack_tensors(value: Any) -> Any:
    """``value`` with every `Tensor` in it as the torch tensor it stands for."""
    return _walk(value, _unpack)


def _walk(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, dict):
        return {key: _walk(part, change) for key, part in value.items()}
    if isinstance(value, list):
        return [_walk(part, change) for part in value]
    if type(value) is tuple:
        return tuple(_walk(part, change) for part in value)
    return change(value)


def _pack(value: Any) -> Any:
    if not (type(value).__module__.startswith("torch") and hasattr(value, "detach")):
        return value
    tensor = value.detach().cpu()
    name = str(tensor.dtype).removeprefix("torch.")
    return Tensor(np.asarray((tensor.float() if name == "bfloat16" else tensor).numpy()), name)


def _unpack(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    import torch

    # what came over a handle lies read-only in Ray's object store
    return torch.from_numpy(value.array.copy()).to(getattr(torch, value.dtype))
