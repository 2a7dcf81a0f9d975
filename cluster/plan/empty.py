"""A model without weights, on torch's meta device: what its weights, its cache and a batch take.

Everything is counted on the model's own class as transformers builds it, and on its own forward pass, in which tensors
have shapes and no data; so models with windows, shared heads or experts need no formula of their own.
"""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from cluster.plan.source import PlanError
from deployments.config import ModelConfig
from deployments.load_errors import reason_of
from deployments.model_ref import ModelRef
from deployments.quantization import Quantization

_BLOCK = 64  # weights that share a scale in four bits (bitsandbytes)
_NESTED_BLOCK = 256  # scales that share one, with double quantisation


@dataclass(frozen=True)
class Weights:
    """What the weights of a model take.

    Args:
        parameters: numbers, tied ones once.
        bytes: in memory, buffers and scales of quantised layers included.
        per_token: bytes that are read to generate one token: all but the table of input embeddings, and of experts
            those that a token uses.
        largest: bytes of the largest part that stays together; accelerate keeps room for it on the first of several
            devices.
    """

    parameters: int
    bytes: int
    per_token: int
    largest: int = 0


def empty_model(model: ModelConfig, ref: ModelRef, dtype: str, quantization: Quantization | None = None) -> Any:
    """The model of a task without weights, its linear layers replaced if they are to be quantised.

    Args:
        model: the task, and whether remote code may run.
        ref: where its configuration is.
        dtype: ``auto``, as pipelines have it, or a torch dtype.
        quantization: of bitsandbytes.

    Raises:
        PlanError: no class of the task takes its configuration, or a package that one of them needs is not there.
    """
    import torch

    config = _read_config(model, ref)
    made = torch.float32 if dtype == "auto" else getattr(torch, dtype)
    if dtype == "auto" and getattr(config, "dtype", None) is not None:
        made = config.dtype
    with torch.device("meta"):
        empty = _construct(model, config, made, ref)
        if quantization is not None:
            _quantize(empty, quantization, made, ref)
    return empty.eval()


def _read_config(model: ModelConfig, ref: ModelRef) -> Any:
    import transformers

    more = {"gguf_file": ref.gguf_file} if ref.gguf_file else {}
    try:
        return transformers.AutoConfig.from_pretrained(
            ref.name_or_path, revision=ref.revision, trust_remote_code=model.trust_remote_code, **more
        )
    except Exception as error:  # a model's own code may raise anything
        raise PlanError(f"the configuration of {ref.source} cannot be read: {reason_of(error)}") from None


def _construct(model: ModelConfig, config: Any, dtype: Any, ref: ModelRef) -> Any:
    """As ``pipeline()`` does: the classes of the task in order, then the one that the configuration names."""
    import transformers

    from deployments.infer_task import auto_classes_by_task

    reasons = []
    attention = {"attn_implementation": model.attn_implementation} if model.attn_implementation else {}
    task = "feature-extraction" if model.canonical_task == "sentence-similarity" else model.canonical_task
    autos = auto_classes_by_task().get(task, ())
    ways = [partial(auto.from_config, trust_remote_code=model.trust_remote_code) for auto in autos]
    named = [getattr(transformers, name, None) for name in config.architectures or ()]
    for way in (*ways, *(found._from_config for found in named if found is not None)):
        try:
            return way(config, dtype=dtype, **attention)
        except Exception as error:  # not of this kind, without a package that it needs, or whatever its own code raises
            reasons.append(reason_of(error))
    reason = (reasons or ["no class of it is known"])[0]
    raise PlanError(f"{ref.source} cannot be built for {model.task}: {reason}")


def _quantize(empty: Any, quantization: Quantization, dtype: Any, ref: ModelRef) -> None:
    from transformers.quantizers import AutoHfQuantizer

    try:
        quantizer = AutoHfQuantizer.from_config(quantization.bits_and_bytes(), pre_quantized=False)
        quantizer.preprocess_model(model=empty, dtype=dtype, device_map={"": 0}, checkpoint_files=[], use_kernels=False)
    except Exception as error:
        raise PlanError(f"{ref.source} cannot be planned in fewer bits: {reason_of(error)}") from None
    empty.hf_quantizer = quantizer


def count_weights(empty: Any) -> Weights:
    """Bytes of a model made by `empty_model`, once its weights are loaded."""
    quantizer = getattr(empty, "hf_quantizer", None)
    wide = _kept_in_float32(empty)
    embeddings = {id(part) for part in empty.get_input_embeddings().parameters()} if _has_embeddings(empty) else set()
    tied = bool(getattr(empty, "all_tied_weights_keys", None))
    share = _share_of_experts(empty.config)
    parameters = total = per_token = 0
    for name, one in empty.named_parameters():
        size = _bytes(empty, quantizer, name, one, 4 if wide(name) else None)
        parameters, total = parameters + one.numel(), total + size
        if id(one) not in embeddings or tied:
            per_token += int(size * share) if ".experts." in name else size
    buffers = sum(one.numel() * one.element_size() for one in empty.buffers())
    return Weights(parameters, total + buffers, per_token, _largest(empty, quantizer))


def _largest(empty: Any, quantizer: Any) -> int:
    from transformers.integrations.accelerate import compute_module_sizes

    sizes, leaves = compute_module_sizes(empty, quantizer)
    together = {*(getattr(empty, "_no_split_modules", None) or ())}
    blocks = [sizes[name] for name, module in empty.named_modules() if type(module).__name__ in together]
    return int(max([*blocks, *leaves.values()], default=0))


def _bytes(empty: Any, quantizer: Any, name: str, one: Any, wide: int | None) -> int:
    if quantizer is None or not quantizer.param_needs_quantization(empty, name):
        return int(one.numel() * (wide or one.element_size()))
    packed = int(one.numel() * quantizer.quantized_element_size)
    config = quantizer.quantization_config
    if config.load_in_8bit:
        return packed + 4 * int(one.shape[0])  # a scale for each row
    blocks = -(-int(one.numel()) // _BLOCK)
    return packed + (blocks + 4 * -(-blocks // _NESTED_BLOCK) if config.bnb_4bit_use_double_quant else 4 * blocks)


def _kept_in_float32(empty: Any) -> Any:
    """Whether upstream loads a parameter in float32 whatever the dtype."""
    parts = [*empty._get_dtype_plan(empty.dtype)]
    return lambda name: any(part in name for part in parts)


def _has_embeddings(empty: Any) -> bool:
    try:
        return empty.get_input_embeddings() is not None
    except (NotImplementedError, AttributeError):
        return False


def _share_of_experts(config: Any) -> float:
    text = config.get_text_config(decoder=True)
    used = getattr(text, "num_experts_per_tok", None)
    there = next((getattr(text, name, None) for name in ("num_experts", "num_local_experts", "n_routed_experts")), None)
    return min(1.0, used / there) if used and there else 1.0


def cache_bytes(empty: Any, rows: int, tokens: int) -> int | None:
    """Keys and values of ``rows`` texts of ``tokens`` tokens, as a forward pass leaves them; None for models without.

    An encoder-decoder reads ``tokens`` and has written as many.
    """
    import torch

    ids = torch.zeros(rows, tokens, dtype=torch.long, device="meta")
    given = {"input_ids": ids, "use_cache": True}
    if getattr(empty.config, "is_encoder_decoder", False):
        given["decoder_input_ids"] = ids
    for kind in (None, "batched_mm"):
        try:
            with torch.no_grad(), _experts_run(empty, kind):
                return _stored(empty(**given, return_dict=True).past_key_values) or None
        except Exception:  # models that look at their numbers have no answer without them
            if _share_of_experts(empty.config) == 1:
                break
    return None


@contextmanager
def _experts_run(empty: Any, kind: str | None) -> Iterator[None]:
    """Experts multiplied in the way ``kind``; other ways than ``batched_mm`` sort tokens, or need other dtypes."""
    if kind is None:
        yield
        return
    before = empty.config._experts_implementation
    empty.set_experts_implementation(kind)
    try:
        yield
    finally:
        empty.config._experts_implementation = before


def _stored(cache: Any) -> int:
    caches = [
        getattr(cache, name) for name in ("self_attention_cache", "cross_attention_cache") if hasattr(cache, name)
    ]
    layers = [layer for part in (caches or [cache]) for layer in getattr(part, "layers", ())]
    tensors = [tensor for layer in layers for tensor in (getattr(layer, "keys", None), getattr(layer, "values", None))]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors if tensor is not None)


def activation_bytes(empty: Any, inputs: dict[str, Any]) -> int | None:
    """The most that a forward pass holds beside weights and inputs; None if it cannot run without data.

    Attention that never writes its matrix of scores needs less than is counted here.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    given = [part for part in inputs.values() if isinstance(part, torch.Tensor)]
    seen = {part.untyped_storage()._cdata for part in (*empty.parameters(), *empty.buffers(), *given)}
    now = most = 0

    def freed(key: int, size: int) -> None:
        nonlocal now
        now -= size
        seen.discard(key)

    class Watch(TorchDispatchMode):  # type: ignore[misc]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal now, most
            made = func(*args, **(kwargs or {}))
            for one in tree_leaves(made):
                storage = one.untyped_storage() if isinstance(one, torch.Tensor) else None
                if storage is not None and storage._cdata not in seen:
                    seen.add(storage._cdata)
                    now += storage.nbytes()
                    most = max(most, now)
                    weakref.finalize(storage, freed, storage._cdata, storage.nbytes())
            return made

    try:
        with torch.no_grad(), Watch():
            empty(**inputs)
    except Exception:  # models that look at their numbers have no answer without them
        return None
    return most
