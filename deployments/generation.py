"""What generation settings mean for batching: how many tokens they ask for, and whether padding would show.

Which settings are in force for a call is upstream's to say (``transformers.Pipeline._prepare_generate_kwargs``): the
call's own, those given to ``pipeline()``, the model's ``generation_config``, and the defaults of the pipeline, the
first that is set.
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


def settings(pipe: Any, forward: Mapping[str, Any]) -> dict[str, Any]:
    """The generation settings in force for a call with these forward parameters; empty for a pipeline without any.

    Pipelines of images and sounds hold those of the call in ``generate_kwargs``.
    """
    if not generates(pipe):
        return {}
    asked = given(forward)
    asked.pop("tokenizer", None)
    found: dict[str, Any] = pipe._get_set_generation_params(pipe._prepare_generate_kwargs(asked))
    return found


def given(forward: Mapping[str, Any]) -> dict[str, Any]:
    """The generation settings among a call's own forward parameters."""
    nested = forward.get("generate_kwargs")
    found = {name: value for name, value in forward.items() if name != "generate_kwargs"}
    return found | (dict(nested) if isinstance(nested, Mapping) else {})


def generates(pipe: Any) -> bool:
    """Whether ``pipe`` runs ``generate``."""
    return bool(getattr(pipe, "_pipeline_calls_generate", False)) and _can_generate(pipe)


def _can_generate(pipe: Any) -> bool:
    model = getattr(pipe, "model", None)
    return model is not None and hasattr(model, "can_generate") and bool(model.can_generate())


def new_tokens(force: Mapping[str, Any]) -> int:
    """Tokens that a call with the settings in ``force`` may generate (>=0); 0 for one that generates none."""
    most = force.get("max_new_tokens")
    if most is None:
        most = force.get("max_length")
    return most if isinstance(most, int) and most > 0 else 0


def end_tokens(force: Mapping[str, Any]) -> frozenset[int]:
    """The tokens that end an answer."""
    given = force.get("eos_token_id")
    return frozenset(given if isinstance(given, list | tuple) else [given]) - {None}


def prompt_matters(pipe: Any, force: Mapping[str, Any]) -> bool:
    """Whether a padded prompt would be answered otherwise than alone.

    ``max_length`` counts the padding, and a repetition penalty takes it for text: with the end token as padding, the
    answer would end elsewhere.
    """
    if not force:
        return False
    encoder_decoder = bool(getattr(pipe.model.config, "is_encoder_decoder", False))
    for name, idle in _LOOK_AT_PROMPT.items():
        if encoder_decoder and not name.startswith("encoder_"):
            continue  # the padded text is the encoder's; these look at the decoder's
        if name == "max_length" and force.get("max_new_tokens") is not None:
            continue  # which then counts instead
        if force.get(name) not in idle:
            return True
    return False


def samples(pipe: Any, forward: Mapping[str, Any]) -> bool:
    """Whether equal calls may have different answers."""
    return bool(settings(pipe, forward).get("do_sample"))
