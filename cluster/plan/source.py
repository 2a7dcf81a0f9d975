"""What is read of a model: the headers of its safetensors files, never a weight."""

import json
import math
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployments.model_ref import ModelRef


class PlanError(ValueError):
    """Raised when a model cannot be planned; the message says why and what to do."""


@dataclass(frozen=True)
class Headers:
    """What the safetensors files of a model hold.

    Args:
        parameters: numbers in all tensors, each as often as it is saved.
        bytes: of all tensors, as saved.
        dtypes: numbers of each dtype, in the words of safetensors (``BF16``).
    """

    parameters: int
    bytes: int
    dtypes: dict[str, int]


def read_headers(ref: ModelRef) -> Headers | None:
    """The headers of a model's safetensors files; None if its weights are kept otherwise.

    Raises:
        PlanError: the hub does not show them.
    """
    if ref.gguf_file is not None:
        return None
    tensors = _local(Path(ref.name_or_path)) if ref.is_local else _on_hub(ref)
    found = [(dtype, math.prod(shape), end - begin) for dtype, shape, (begin, end) in tensors]
    if not found:
        return None
    counts: Counter[str] = Counter()
    for dtype, parameters, _ in found:
        counts[dtype] += parameters
    return Headers(sum(counts.values()), sum(size for _, _, size in found), dict(counts))


def _local(folder: Path) -> Iterable[tuple[str, list[int], tuple[int, int]]]:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    else:
        names = ["model.safetensors"] if (folder / "model.safetensors").is_file() else []
    for name in names:
        for tensor, entry in _header(folder / name).items():
            if tensor != "__metadata__":
                yield entry["dtype"], entry["shape"], tuple(entry["data_offsets"])


def _header(file: Path) -> dict[str, Any]:
    """Eight bytes of length, little-endian, and as much JSON."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        found: dict[str, Any] = json.loads(opened.read(length))
    return found


def _on_hub(ref: ModelRef) -> Iterable[tuple[str, list[int], tuple[int, int]]]:
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, NotASafetensorsRepoError

    try:
        repo = huggingface_hub.get_safetensors_metadata(
            ref.name_or_path, revision=ref.revision, token=os.environ.get("HF_TOKEN")
        )
    except NotASafetensorsRepoError:
        return
    except (OSError, HfHubHTTPError) as error:
        raise PlanError(
            f"the hub does not show the files of {ref.source} ({type(error).__name__}): check its name and HF_TOKEN"
        ) from None
    for file in repo.files_metadata.values():
        for tensor in file.tensors.values():
            yield tensor.dtype, tensor.shape, tensor.data_offsets
