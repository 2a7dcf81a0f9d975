"""Linear layers on the CPU through oneDNN, with weights laid out for it once. No Ray.

torch runs a float32 `nn.Linear` through MKL, which lays the weight out anew at each call. oneDNN keeps a packed copy:
measured on an AMD EPYC (torch 2.13), MiniLM answers 1.1 to 1.5 times as many texts a second, and the linear layers of a
decoding step of 2 to 8 rows take a half to a third of the time. The sums are the same in another order: answers differ
by rounding (5e-7 in MiniLM's logits), as they do between numbers of threads. In bfloat16, which torch gives to oneDNN
itself where the processor has it, the sums are the very same, and a decoding step of 1 to 32 rows takes two thirds.

The operators are those that ``torch.compile`` puts in place of linear layers when it freezes a model
(``torch/_inductor/fx_passes/mkldnn_fusion.py``). A torch without them leaves the layers as they are.
"""

import logging
from typing import Any

logger = logging.getLogger("pipeline_graph.cpu_linear")

_MOST_BYTES = 2**31  # the packed weights stand beside the original ones, which some models look at
# in float32, of rows x weights: below, oneDNN's call costs more than its arithmetic saves
_FEWEST_PRODUCTS = 500_000


def pack_linear(model: Any) -> int:
    """Let the float32 and bfloat16 linear layers of ``model`` on the CPU run through oneDNN.

    Args:
        model: a torch module in evaluation mode; whatever is no plain `nn.Linear` with its weights in memory
            (quantised, offloaded, hooked by accelerate) stays as it is.

    Returns:
        How many layers were packed; 0 where torch cannot, or where their weights are over 2 GiB.
    """
    import torch

    if not isinstance(model, torch.nn.Module) or not _available():
        return 0
    dtypes = {torch.float32, *((torch.bfloat16,) if _has_bfloat16() else ())}
    layers = [layer for layer in model.modules() if _fits(layer) and layer.weight.dtype in dtypes]
    if sum(layer.weight.numel() * layer.weight.element_size() for layer in layers) > _MOST_BYTES:
        return 0
    for layer in layers:
        layer.forward = _Packed(layer)
    return len(layers)


def packed_bytes(model: Any) -> int:
    """Memory of the packed copies in ``model``; a copy is as large as its weight."""
    import torch

    if not isinstance(model, torch.nn.Module):
        return 0
    packed = [layer for layer in model.modules() if isinstance(vars(layer).get("forward"), _Packed)]
    return sum(layer.weight.numel() * layer.weight.element_size() for layer in packed)


def _available() -> bool:
    import torch

    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return hasattr(torch.ops.mkldnn, "_linear_pointwise") and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")


def _has_bfloat16() -> bool:
    """Whether this processor multiplies it, and oneDNN so does not go by float32."""
    import torch

    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return supported is not None and bool(supported())


def _fits(layer: Any) -> bool:
    import torch

    if type(layer) is not torch.nn.Linear or "forward" in vars(layer) or hasattr(layer, "_hf_hook"):
        return False
    weight = layer.weight
    return bool(weight.device.type == "cpu" and weight.numel())


class _Packed:
    """Stands in for the ``forward`` of one layer.

    Args:
        layer: keeps its own weight, for whoever looks at it and for calls that oneDNN does not take.
    """

    def __init__(self, layer: Any) -> None:
        import torch

        self._layer = layer
        self._weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), None)
        self._run = torch.ops.mkldnn._linear_pointwise.default
        self._plain = torch.nn.functional.linear
        self._dtype = layer.weight.dtype
        self._fewest = 0
        if self._dtype is torch.float32:
            self._fewest = _FEWEST_PRODUCTS // layer.weight.numel() * layer.in_features

    def __call__(self, given: Any) -> Any:
        """``given @ weight.T + bias``, shape ``(..., out_features)``."""
        if given.numel() <= self._fewest or given.dtype is not self._dtype or given.requires_grad:
            return self._plain(given, self._layer.weight, self._layer.bias)
        return self._run(given, self._weight, self._layer.bias, "none", [], "")
