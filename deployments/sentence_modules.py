"""What a model repository says of its sentence embeddings: the files that sentence-transformers writes beside a model.

``modules.json`` lists what follows the transformer (``1_Pooling``, ``2_Dense``, ``2_Normalize`` ...),
``config_sentence_transformers.json`` the prompts, ``sentence_bert_config.json`` the most tokens. No code of the
repository runs: the modules known here are rebuilt from their configurations and weights.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from deployments.model_ref import ModelRef
from deployments.pooling import Layer

logger = logging.getLogger("pipeline_graph.sentence_modules")

# under their keys in files of older versions; several are joined in this order
_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "last",
}
_SENTENCE_CONFIGS = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)


@dataclass(frozen=True)
class SentenceModules:
    """How the model's authors make one vector of a text.

    Args:
        modes: of `deployments.pooling.pool` (default: the mean, as for a model without these files).
        include_prompt: whether the tokens of a prompt count.
        layers: what follows the pooling.
        normalizes: whether the vectors have length 1 in the end.
        prompts: texts put before the input, by name.
        default_prompt: name of the prompt used where none is asked for, or None.
        max_tokens: longest text (tokens, >=1), or None where only the model itself sets a limit.
        lower_case: whether the text is lower-cased first.
        unknown: a module that is not known here, so that the model's own embeddings cannot be had; or None.
    """

    modes: tuple[str, ...] = ("mean",)
    include_prompt: bool = True
    layers: tuple[Layer, ...] = ()
    normalizes: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    max_tokens: int | None = None
    lower_case: bool = False
    unknown: str | None = None


def read_modules(ref: ModelRef, device: torch.device, token: str | None = None) -> SentenceModules:
    """Read the files of ``ref``; what is not there has the defaults of `SentenceModules`.

    Args:
        ref: the model.
        device: where the layers go.
        token: for the hub.

    Returns:
        What they say. Where they cannot be read, the model still gives features and plain poolings of them.
    """
    try:
        return _read(_Files(ref, token), device)
    except (ValueError, LookupError, TypeError, AttributeError, RuntimeError, OSError):
        logger.warning("the sentence-transformers files of %s cannot be read", ref.source, exc_info=True)
        return SentenceModules(unknown="something that cannot be read")


def _read(files: "_Files", device: torch.device) -> SentenceModules:
    about = files.json("config_sentence_transformers.json")
    limits: dict[str, Any] = next(filter(None, map(files.json, _SENTENCE_CONFIGS)), {})
    found: dict[str, Any] = {
        "prompts": {str(name): str(text) for name, text in (about.get("prompts") or {}).items() if text is not None},
        "default_prompt": about.get("default_prompt_name"),
        "max_tokens": limits.get("max_seq_length"),
        "lower_case": bool(limits.get("do_lower_case")),
    }
    layers: list[Layer] = []
    for module in files.json("modules.json") or ():
        package, _, kind = str(module["type"]).rpartition(".")
        known = package.split(".")[0] == "sentence_transformers"
        if known and kind in ("Transformer", "Dropout"):
            continue
        found["normalizes"] = known and kind == "Normalize"
        if known and kind == "Pooling":
            config = files.json(f"{module['path']}/config.json")
            found |= {"modes": _modes(config), "include_prompt": config.get("include_prompt", True)}
        elif known and kind in _LAYERS:
            layers.append(_LAYERS[kind](files, module["path"], device))
        else:
            logger.warning("%s has a module %s that is not known here: its own embeddings are off", files.source, kind)
            found["unknown"] = kind
    if found.get("normalizes"):
        layers.pop()  # the length is set at the very end, after `dimensions` cut the vector
    return SentenceModules(**found, layers=tuple(layers))


def _modes(config: Mapping[str, Any]) -> tuple[str, ...]:
    given = config.get("pooling_mode") or [mode for key, mode in _MODES.items() if config.get(key)]
    modes = [given] if isinstance(given, str) else given
    return tuple("last" if mode == "lasttoken" else str(mode) for mode in modes) or ("mean",)


class _Files:
    """Files of a model, in its directory or on the hub."""

    def __init__(self, ref: ModelRef, token: str | None) -> None:
        self._ref = ref
        self.source = ref.source
        self._token = token

    def path(self, name: str) -> Path | None:
        from transformers.utils.hub import cached_file

        found = cached_file(
            self._ref.name_or_path,
            name,
            revision=self._ref.revision,
            token=self._token,
            _raise_exceptions_for_gated_repo=False,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
        return None if found is None else Path(found)

    def json(self, name: str) -> Any:
        """The parsed file; empty if there is none."""
        path = self.path(name)
        return {} if path is None else json.loads(path.read_text(encoding="utf-8"))

    def weights(self, folder: str) -> dict[str, torch.Tensor]:
        """The tensors of a module."""
        path = self.path(f"{folder}/model.safetensors")
        if path is not None:
            from safetensors.torch import load_file

            return load_file(path)  # type: ignore[no-any-return]
        path = self.path(f"{folder}/pytorch_model.bin")
        if path is None:
            raise ValueError(f"{self.source} has no weights in {folder}")
        # of the model's repository, and `weights_only`: tensors, no other objects
        weights: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        return weights


def _dense(files: _Files, folder: str, device: torch.device) -> Layer:
    config = files.json(f"{folder}/config.json")
    weights = files.weights(folder)
    if config.get("use_residual") or config.get("module_input_name", "sentence_embedding") != "sentence_embedding":
        raise ValueError(f"the Dense module in {folder} is of a kind that is not known here")
    linear = torch.nn.Linear(config["in_features"], config["out_features"], bias=config.get("bias", True))
    linear.load_state_dict({name.removeprefix("linear."): tensor.float() for name, tensor in weights.items()})
    layer = torch.nn.Sequential(linear, _activation(config.get("activation_function")))
    placed: Layer = layer.to(device).requires_grad_(False)
    return placed


def _activation(name: str | None) -> torch.nn.Module:
    """A class of ``torch.nn`` by its full name, and nothing else."""
    module, _, kind = (name or "torch.nn.modules.activation.Tanh").rpartition(".")
    found = getattr(torch.nn, kind, None)
    if not module.startswith("torch.nn") or not isinstance(found, type) or not issubclass(found, torch.nn.Module):
        raise ValueError(f"the activation function {name!r} is not one of torch.nn")
    return found()


def _layer_norm(files: _Files, folder: str, device: torch.device) -> Layer:
    norm = torch.nn.LayerNorm(files.json(f"{folder}/config.json")["dimension"])
    weights = files.weights(folder)
    norm.load_state_dict({name.removeprefix("norm."): tensor.float() for name, tensor in weights.items()})
    placed: Layer = norm.to(device).requires_grad_(False)
    return placed


def _normalize(*_: Any) -> Layer:
    normalize: Layer = torch.nn.functional.normalize
    return normalize


_LAYERS = {"Dense": _dense, "LayerNorm": _layer_norm, "Normalize": _normalize}
