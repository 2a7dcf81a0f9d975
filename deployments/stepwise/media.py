"""What a prompt has beside its tokens: pixels, sound and the like, which the model reads once, with all of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

# one for each token of the prompt: which kind it is of
_KINDS = frozenset({"token_type_ids", "mm_token_type_ids", "moe_mm_token_type_ids"})


@dataclass(frozen=True, eq=False)
class Media:
    """The media of one prompt.

    Args:
        inputs: of the model, as its processor made them, on the CPU.
        positions: of the prompt's tokens, shape (ways of counting, tokens), or None where they are counted as usual.
    """

    inputs: Mapping[str, torch.Tensor]
    positions: torch.Tensor | None

    @property
    def read(self) -> int:
        """Tokens that the model reads beside those of the prompt (>=0)."""
        return 0

    def at(self, device: Any, rows: int, length: int) -> dict[str, torch.Tensor]:
        """The inputs for so many ``rows`` of the same prompt, of ``length`` tokens with what was generated."""
        found = {}
        for name, value in self.inputs.items():
            if name in _KINDS:  # what was generated is text
                value = torch.nn.functional.pad(value, (0, length - value.shape[-1]))
            found[name] = torch.cat([value.to(device)] * rows)
        return found


@dataclass(frozen=True, eq=False)
class Source(Media):
    """The text that the encoder of an encoder-decoder reads."""

    @property
    def read(self) -> int:
        """Tokens of the text (>=1)."""
        return int(self.inputs["input_ids"].shape[-1])


def read_source(inputs: Mapping[str, Any], extra: frozenset[str], prompt: torch.Tensor) -> Source:
    """The text of a call of an encoder-decoder.

    Args:
        inputs: what the tokenizer made.
        extra: names of what ``generate`` hands to the model beside the text, its mask and the encoder's outputs.
        prompt: of the decoder, shape (rows, tokens).

    Raises:
        ValueError: it cannot be kept for later; the message says what.
    """
    if extra:
        raise ValueError(f"its prompt has `{min(extra)}`")
    if prompt.shape[-1] != 1:
        raise ValueError("its answer begins with several tokens")
    mask = inputs.get("attention_mask")
    if mask is not None and not bool(mask.all()):
        raise ValueError("its prompt is padded")
    return Source({"input_ids": inputs["input_ids"]}, None)


def read_media(
    inputs: Mapping[str, Any], extra: frozenset[str], positions: Any, length: int
) -> tuple[Media | None, tuple[int, ...]]:
    """The media of a prompt, None where it is text alone; and its rows' offsets.

    Args:
        inputs: what the processor made.
        extra: names of what ``generate`` hands to the model beside the tokens and their mask.
        positions: of the tokens, as ``generate`` counts them, shape (rows, tokens) or (ways, rows, tokens), or None.
        length: of the prompt, in tokens.

    Raises:
        ValueError: it cannot be kept for later; the message says what.
    """
    strange = sorted(name for name in extra if not isinstance(inputs.get(name), torch.Tensor))
    if strange:
        raise ValueError(f"its prompt has `{strange[0]}`")
    several: torch.Tensor | None = None
    offsets: tuple[int, ...] = ()
    if isinstance(positions, torch.Tensor) and positions.ndim == 3:
        several = positions[:, 0].cpu()
        offsets = tuple(int(last) + 1 - length for last in several[:, -1])
    elif isinstance(positions, torch.Tensor) and not _usual(positions[0]):
        raise ValueError("its prompt is counted in its own way")
    found = {name: inputs[name] for name in sorted(extra)}
    if all(name in _KINDS and not bool(value.any()) for name, value in found.items()):
        return None, offsets
    return Media(found, several), offsets


def _usual(positions: torch.Tensor) -> bool:
    return bool((positions.cpu() == torch.arange(positions.shape[-1])).all())
