"""Token ids among the generation settings of a call: those that the model does not have are refused. No Ray.

Upstream finds out at the first token, or not at all; on a GPU an index out of range would end the whole replica.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from deployments.errors import InvalidParameterError
from deployments.generation import generates, given

_NAMES = (
    "forced_bos_token_id",
    "forced_eos_token_id",
    "decoder_start_token_id",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "prompt_ids",
    "bad_words_ids",
    "sequence_bias",
    "suppress_tokens",
    "begin_suppress_tokens",
)
_ONLY_COMPARED = ("suppress_tokens", "begin_suppress_tokens")  # -1 stands for none there


def check_token_ids(pipe: Any, forward: Mapping[str, Any]) -> None:
    """Look at the settings that a call gave.

    Args:
        pipe: the pipeline.
        forward: the call's forward parameters.

    Raises:
        InvalidParameterError: names the parameter.
    """
    if not generates(pipe):
        return
    size = getattr(pipe.model.config.get_text_config(decoder=True), "vocab_size", None)
    if not isinstance(size, int):
        return
    asked = given(forward)
    for name in _NAMES:
        least = -1 if name in _ONLY_COMPARED else 0
        for token in _ids(name, asked.get(name)):
            if not least <= token < size:
                path = f"parameters.{name}"
                raise InvalidParameterError(
                    f"`{path}` has token {token}, and this model's vocabulary has {size}, from 0 on.", path
                )


def _ids(name: str, value: Any) -> Iterable[int]:
    if name == "sequence_bias":
        value = [pair[0] for pair in value if _is_list(pair) and pair] if _is_list(value) else list(value or ())
    return _whole_numbers(value)


def _whole_numbers(value: Any) -> Iterable[int]:
    """All in ``value``, a number or an array, or lists of them."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, int) and not isinstance(value, bool):
        yield value
    elif _is_list(value):
        for one in value:
            yield from _whole_numbers(one)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)
