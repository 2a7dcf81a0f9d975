"""What generation settings mean for batching: how many tokens they ask for, and whether padding would show.

Settings stand, the first that is set, in the call, in the pipeline's and in the model's ``generation_config``
(``transformers.Pipeline._prepare_generate_kwargs``).
"""

from collections.abc import Mapping
from typing import Any

# these count or look at the tokens of the prompt, padding included; with their values that do nothing
_LOOK_AT_PROMPT: dict[str, tuple[Any, ...]] = {
    "max_length": (None,),
    "min_length": (None, 0),
    "repetition_penalty": (None, 1.0),
    "no_repeat_ngram_size": (None, 0),
    "encoder_repetition_penalty": (None, 1.0),
    "encoder_no_repeat_ngram_size": (None, 0),
    "prompt_lookup_num_tokens": (None,),
    "sequence_bias": (None,),
    "bad_words_ids": (None,),
    "watermarking_config": (None,),
    "guidance_scale": (None, 1.0),
    "prefix_length": (None, 0),
}


def setting(pipe: Any, forward: Mapping[str, Any], name: str) -> Any:
    """The value of ``name`` in force for a call with these forward parameters; None where nothing sets it."""
    nested = forward.get("generate_kwargs")
    for source in (forward, nested if isinstance(nested, Mapping) else {}):
        if source.get(name) is not None:
            return source[name]
    config = getattr(pipe, "generation_config", None)
    return getattr(config, name, None)


def generates(pipe: Any) -> bool:
    """Whether ``pipe`` runs ``generate``."""
    return bool(getattr(pipe, "_pipeline_calls_generate", False)) and _can_generate(pipe)


def _can_generate(pipe: Any) -> bool:
    model = getattr(pipe, "model", None)
    return model is not None and hasattr(model, "can_generate") and bool(model.can_generate())


def new_tokens(pipe: Any, forward: Mapping[str, Any]) -> int:
    """Tokens that the call may generate (>=0); 0 for a pipeline that generates none."""
    if not generates(pipe):
        return 0
    most = setting(pipe, forward, "max_new_tokens")
    if most is None:
        most = setting(pipe, forward, "max_length")
    return most if isinstance(most, int) and most > 0 else 0


def prompt_matters(pipe: Any, forward: Mapping[str, Any]) -> bool:
    """Whether a padded prompt would be answered otherwise than alone.

    ``max_length`` counts the padding, and a repetition penalty takes it for text: with the end token as padding, the
    answer would end elsewhere.
    """
    if not generates(pipe):
        return False
    encoder_decoder = bool(getattr(pipe.model.config, "is_encoder_decoder", False))
    for name, idle in _LOOK_AT_PROMPT.items():
        if encoder_decoder and not name.startswith("encoder_"):
            continue  # the padded text is the encoder's; these look at the decoder's
        value = setting(pipe, forward, name)
        if name == "max_length" and setting(pipe, forward, "max_new_tokens") is not None:
            continue  # which then counts instead
        if value not in idle:
            return True
    return False


def samples(pipe: Any, forward: Mapping[str, Any]) -> bool:
    """Whether equal calls may have different answers."""
    return generates(pipe) and bool(setting(pipe, forward, "do_sample"))
