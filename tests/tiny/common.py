"""What every tiny case is made of: the ``Case`` record, seeded weights and the checkpoint cache.

In: a task, a builder and three inputs. Out: a directory that ``transformers.pipeline(task, model=str(directory))``
loads offline. Weights come from one seed and are scaled by fan-in, so that answers differ between inputs.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from transformers import PreTrainedModel

Model = TypeVar("Model", bound=PreTrainedModel)

_FAN_IN_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d)


@dataclass(frozen=True, eq=False)
class Case:
    """One tiny model of one task, with what a person would ask it.

    Attributes:
        id: unique name, also the folder of the checkpoint.
        task: canonical task name, a key of ``SUPPORTED_TASKS``.
        build: writes the checkpoint into an existing empty directory; the same bytes of weights on every run.
        make_inputs: returns three fresh first arguments for the pipeline; fresh, because some pipelines change theirs.
        parameters: one changed parameter (at most with its companion) that changes the answer of at least one input.
        always: parameters of every call.
        init: further keyword arguments of ``pipeline()``.
        requires: importable modules needed beyond the base install; see ``stand_in`` for ``torchvision``.
        batchable: measured: the three inputs in one batch of ``pipeline(..., batch_size=3)`` give the three single
            answers; False where the local pipeline raises or pads the answer.
    """

    id: str
    task: str
    build: Callable[[Path], None]
    make_inputs: Callable[[], tuple[Any, Any, Any]]
    parameters: dict[str, Any]
    always: dict[str, Any] = field(default_factory=dict)
    init: dict[str, Any] = field(default_factory=dict)
    requires: tuple[str, ...] = ()
    batchable: bool = True

    @property
    def inputs(self) -> tuple[Any, Any, Any]:
        """Three first arguments for the pipeline, made anew at each access."""
        return self.make_inputs()


def randomise(model: Model, seed: int = 0, gain: float = 1.0) -> Model:
    """Overwrite the weights with seeded noise that keeps the signal alive from input to answer.

    The library's own initialisation (std 0.02) makes tiny models answer nearly the same to everything.
    Layers get std ``gain / sqrt(fan_in)``, embeddings 1, other tables 0.5, biases 0.1; scales and norms stay.

    Args:
        model: changed in place.
        seed: of the noise.
        gain: of linear and convolutional layers; larger makes answers more extreme.

    Returns:
        The same model, in evaluation mode.
    """
    generator = torch.Generator().manual_seed(seed)
    seen: set[int] = set()
    with torch.no_grad():
        for module in model.modules():
            for name, parameter in module.named_parameters(recurse=False):
                std = _std(module, name, parameter, gain)
                if std and id(parameter) not in seen:
                    parameter.normal_(0.0, std, generator=generator)
                seen.add(id(parameter))
    return model.eval()


def _std(module: nn.Module, name: str, parameter: torch.Tensor, gain: float) -> float:
    """Standard deviation for one parameter; 0 means leave it as it is."""
    if name.startswith("original") or name.startswith("weight_"):  # weight norm: magnitude and direction
        return 0.0
    if parameter.ndim >= 2:
        if isinstance(module, nn.Embedding):
            return 1.0
        if isinstance(module, _FAN_IN_LAYERS):
            return float(gain / max(1, parameter[0].numel()) ** 0.5)
        return 0.5
    return 0.1 if name == "bias" else 0.0


def seeded(make: Callable[[], Model], seed: int = 0, gain: float = 1.0) -> Model:
    """Construct a model under ``torch.manual_seed`` and randomise it, leaving the caller's random state alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return randomise(make(), seed, gain)


def save(directory: Path, model: PreTrainedModel, *companions: Any) -> None:
    """Write the model and its tokenizer, processor or image processor into one directory."""
    model.save_pretrained(directory)
    for companion in companions:
        companion.save_pretrained(directory)


def labels(names: Sequence[str]) -> dict[str, Any]:
    """Config keywords naming the classes of a head."""
    return {
        "num_labels": len(names),
        "id2label": dict(enumerate(names)),
        "label2id": {name: index for index, name in enumerate(names)},
    }


def checkpoint(case: Case, root: Path) -> Path:
    """Build the checkpoint of a case once into ``root/<id>``; later calls reuse it.

    Written beside its place and renamed, so that processes sharing ``root`` never see half of one.

    Args:
        case: what to build.
        root: made if missing.

    Returns:
        The directory to give to ``pipeline(model=str(directory))``.
    """
    target = root / case.id
    if target.exists():
        return target
    root.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{case.id}-", dir=root))
    try:
        case.build(work)
        work.chmod(0o755)
        os.rename(work, target)
    except OSError:
        if not target.exists():  # anything but another process being first
            raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target
