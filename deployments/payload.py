"""What crosses a deployment handle: small frozen dataclasses, never a request object, no torch.

A request's ``inputs`` is what a person passes to the local ``pipeline()``, with images, audio and video either as
`Media` (encoded bytes, decoded on the replica) or already decoded (PIL image, numpy array).
"""

import pickle
from collections.abc import Iterable
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
        mode: of a PNG that stands for an image in memory, the mode that it had there; None for any other file.
    """

    data: bytes
    kind: MediaKind
    field: str = "inputs"
    mode: str | None = None

    def __repr__(self) -> str:  # contents never reach a log
        return f"Media({self.kind}, {len(self.data)} bytes)"

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Lets Ray copy the file straight into shared memory, instead of into a pickle first."""
        data = pickle.PickleBuffer(self.data) if protocol >= 5 else self.data
        return _media, (data, self.kind, self.field, self.mode)


def _media(data: Any, kind: MediaKind, field: str, mode: str | None) -> Media:
    return Media(data if isinstance(data, bytes) else bytes(data), kind, field, mode)


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
class ChatCall:
    """That a request is a chat as OpenAI's clients have it, whose answer is told apart into the parts of a message.

    Args:
        variables: of the chat template, such as ``enable_thinking``.
        prefills: whether the last message is to be gone on with rather than answered.
    """

    variables: dict[str, Any] = field(default_factory=dict)
    prefills: bool = False


@dataclass(frozen=True, repr=False)
class TaskRequest:
    """One input with its own parameters.

    Args:
        inputs: one item in the call form of the task's pipeline.
        parameters: call parameters; merged over the configured defaults.
        request_id: as in the ``x-request-id`` header; for the log.
        bulk: an item of a list, behind which single requests need not wait.
        chat: for a chat of which the message is wanted; each record of the answer then has its ``parts``
            (`deployments.events.MessagePart`), or None where the model marks none.
    """

    inputs: Any
    parameters: dict[str, Any] = field(default_factory=dict)
    request_id: str = ""
    bulk: bool = False
    chat: ChatCall | None = None

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


@dataclass(frozen=True)
class Usage:
    """What an answer took, in tokens.

    Args:
        input_tokens: of the input, special tokens included (>=0).
        output_tokens: generated, end tokens included, all answers together (>=0).
        finish: how each generated answer ended: ``length``, ``eos_token`` or ``stop_sequence``.
        reasoning_tokens: of a chat, how many the reasoning in the answer comes to (>=0).
    """

    input_tokens: int
    output_tokens: int = 0
    finish: tuple[str, ...] = ()
    reasoning_tokens: int = 0


def total(usages: Iterable[Usage | None]) -> Usage | None:
    """All ``usages`` added up, answers in their order; None where there is none, or where one is not known."""
    known: list[Usage] = []
    for usage in usages:
        if usage is None:
            return None
        known.append(usage)
    if not known:
        return None
    finish = tuple(reason for usage in known for reason in usage.finish)
    return Usage(sum(usage.input_tokens for usage in known), sum(usage.output_tokens for usage in known), finish)


@dataclass(frozen=True, repr=False)
class TaskResult:
    """One answer.

    Args:
        output: what the local pipeline returns for this input, tensors as `Tensor`.
        times: where the time went.
        batch_size: chunks in the largest batch of the model that this request was part of (>=1).
        padding_waste: share of padding in such a batch, in [0, 1).
        source: ``none`` if computed for this request, ``shared`` with an equal one that was running, ``hit`` if kept.
        usage: tokens of input and answer; None where the task does not count in tokens.
    """

    output: Any
    times: StageTimes = StageTimes()
    batch_size: int = 1
    padding_waste: float = 0.0
    source: Literal["none", "shared", "hit"] = "none"
    usage: Usage | None = None
