"""What crosses a deployment handle: small frozen dataclasses, never a request object, no torch.

A request's ``inputs`` is what a person passes to the local ``pipeline()``, with images, audio and video either as
`Media` (encoded bytes, decoded on the replica) or already decoded (PIL image, numpy array).
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

MediaKind = Literal["image", "audio", "video"]


@dataclass(frozen=True, repr=False)
class Media:
    """An encoded image, sound or film.

    Args:
        data: the encoded file (PNG, JPEG, WAV, FLAC, MP4, ...).
        kind: how the task reads it.
        field: where in the request it stood, for error messages.
    """

    data: bytes
    kind: MediaKind
    field: str = "inputs"

    def __repr__(self) -> str:  # contents never reach a log
        return f"Media({self.kind}, {len(self.data)} bytes)"


@dataclass(frozen=True, repr=False)
class Tensor:
    """A torch tensor on its way between processes; the receiving side need not have torch loaded.

    Args:
        array: the values; bfloat16 travels as float32.
        dtype: torch's name of the type, e.g. ``"bfloat16"``.
    """

    array: npt.NDArray[Any]
    dtype: str

    def __repr__(self) -> str:
        return f"Tensor({self.dtype}, shape={tuple(np.shape(self.array))})"


@dataclass(frozen=True, repr=False)
class TaskRequest:
    """One input with its own parameters.

    Args:
        inputs: one item in the call form of the task's pipeline.
        parameters: call parameters; merged over the configured defaults.
        request_id: as in the ``x-request-id`` header; for the log.
        bulk: an item of a list, behind which single requests need not wait.
    """

    inputs: Any
    parameters: dict[str, Any] = field(default_factory=dict)
    request_id: str = ""
    bulk: bool = False

    def __repr__(self) -> str:
        return f"TaskRequest(request_id={self.request_id!r}, parameters={sorted(self.parameters)})"


@dataclass(frozen=True)
class StageTimes:
    """Seconds spent in each stage on the replica.

    Args:
        decode_s: media to pixels and samples.
        queue_s: waiting between the stages.
        preprocess_s, postprocess_s: of this request alone.
        forward_s: of the batches it was part of.
    """

    decode_s: float = 0.0
    queue_s: float = 0.0
    preprocess_s: float = 0.0
    forward_s: float = 0.0
    postprocess_s: float = 0.0

    @property
    def total_s(self) -> float:
        """All of it."""
        return self.decode_s + self.queue_s + self.preprocess_s + self.forward_s + self.postprocess_s


@dataclass(frozen=True, repr=False)
class TaskResult:
    """One answer.

    Args:
        output: what the local pipeline returns for this input, tensors as `Tensor`.
        times: where the time went.
        batch_size: chunks in the largest batch of the model that this request was part of (>=1).
        padding_waste: share of padding in such a batch, in [0, 1).
        source: ``none`` if computed for this request, ``shared`` with an equal one that was running, ``hit`` if kept.
    """

    output: Any
    times: StageTimes = StageTimes()
    batch_size: int = 1
    padding_waste: float = 0.0
    source: Literal["none", "shared", "hit"] = "none"
