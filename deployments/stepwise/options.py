"""What a call of text generation may ask for beyond transformers' own parameters. No torch.

The names are those of text-generation-inference, which ``InferenceClient.text_generation`` sends; those without a sound
meaning here are refused by name rather than ignored.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from deployments.errors import InvalidParameterError

MOST_TOP_TOKENS = 20
MOST_STOPS, MOST_STOP = 16, 256
"""Texts at which an answer ends, and characters of each."""
_MOST_SEED = 2**63 - 1
_MOST_GRAMMAR = 65536  # characters
_GRAMMARS = '{"type": "json", "value": a JSON schema}, {"type": "regex", "value": a pattern} or {"type": "json_object"}'
# values that ask for nothing
_IDLE: dict[str, tuple[Any, ...]] = {
    "best_of": (None, 1),
    "watermark": (None, False),
    "adapter_id": (None,),
}


@dataclass(frozen=True)
class Grammar:
    """What an answer must fit.

    Args:
        kind: ``json`` for a JSON schema, ``regex`` for a regular expression.
        text: it.
    """

    kind: Literal["json", "regex"]
    text: str


@dataclass(frozen=True)
class GenerationOptions:
    """Settings of one call.

    Args:
        seed: of this call's own random numbers, in [0, 2**63); None draws one.
        details: whether the answer tells its tokens with their log-probabilities.
        decoder_input_details: whether it also tells those of the prompt; needs ``details``.
        top_n_tokens: likeliest tokens told beside each generated one, in [0, 20].
        truncate: tokens of the prompt kept, the last ones (>=1); None keeps all.
        frequency_penalty: taken off the score of a token for each time it was generated, in [-2, 2].
        presence_penalty: taken off the score of a token that was generated, in [-2, 2].
        stop: texts at which the answer ends; they stay in it, as with ``stop_sequence``, and the prompt has no part in
            them.
        grammar: what the answer must fit.
    """

    seed: int | None = None
    details: bool = False
    decoder_input_details: bool = False
    top_n_tokens: int = 0
    truncate: int | None = None
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    stop: tuple[str, ...] = ()
    grammar: Grammar | None = None

    def needs_steps(self) -> list[str]:
        """Names of the settings that only token-by-token generation can honour."""
        names = ("seed", "details", "top_n_tokens", "frequency_penalty", "presence_penalty", "grammar")
        return [name for name in names if getattr(self, name) != getattr(_NONE, name)]


_NONE = GenerationOptions()


def _whole(least: int, most: int) -> tuple[Callable[[Any], bool], str]:
    says = f"a whole number from {least} to {most}"
    return lambda value: type(value) is int and least <= value <= most, says


def _is_penalty(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -2 <= value <= 2


def _is_stop(value: Any) -> bool:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or len(texts) > MOST_STOPS:
        return False
    return all(isinstance(text, str) and 0 < len(text) <= MOST_STOP for text in texts)


def read_grammar(value: Any) -> Grammar | None:
    """The grammar that ``value`` describes, in text-generation-inference's form; None where it describes none."""
    if not isinstance(value, Mapping) or set(value) - {"type", "value"}:
        return None
    kind, source = value.get("type"), value.get("value")
    if kind == "regex":
        return Grammar("regex", source) if isinstance(source, str) and source else None
    if kind == "json_schema":  # as OpenAI has it, with a name
        source = source.get("schema") if isinstance(source, Mapping) else None
    elif kind == "json_object":
        source = {"type": "object"} if source is None else source
    elif kind != "json":
        return None
    try:
        schema = json.loads(source) if isinstance(source, str) else source
        return Grammar("json", json.dumps(schema, allow_nan=False)) if isinstance(schema, Mapping) else None
    except (ValueError, TypeError, RecursionError):
        return None


def _is_grammar(value: Any) -> bool:
    grammar = read_grammar(value)
    return grammar is not None and len(grammar.text) <= _MOST_GRAMMAR


_FLAG = (lambda value: isinstance(value, bool), "true or false")
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "seed": _whole(0, _MOST_SEED),
    "details": _FLAG,
    "decoder_input_details": _FLAG,
    "top_n_tokens": _whole(0, MOST_TOP_TOKENS),
    "truncate": _whole(1, 2**31 - 1),
    "frequency_penalty": (_is_penalty, "a number from -2 to 2"),
    "presence_penalty": (_is_penalty, "a number from -2 to 2"),
    "stop": (_is_stop, f"a string of 1 to {MOST_STOP} characters, or a list of at most {MOST_STOPS} of them"),
    "grammar": (
        _is_grammar,
        f"{_GRAMMARS}, of at most {_MOST_GRAMMAR} characters",
    ),
}
OPTION_NAMES = frozenset(_RULES) | frozenset(_IDLE)


def split_options(parameters: Mapping[str, Any]) -> tuple[GenerationOptions, dict[str, Any]]:
    """The options among merged call ``parameters``, and the rest, which is the pipeline's.

    Raises:
        InvalidParameterError: an option has a wrong value, or is one that is not offered here.
    """
    given = {name: value for name, value in parameters.items() if name in OPTION_NAMES and value is not None}
    rest = {name: value for name, value in parameters.items() if name not in OPTION_NAMES}
    for name, value in given.items():
        _check(name, value)
    if given.get("decoder_input_details") and not given.get("details"):
        raise InvalidParameterError(
            "`parameters.decoder_input_details` needs `details: true`.", "parameters.decoder_input_details"
        )
    known = {field.name for field in dataclasses.fields(GenerationOptions)}
    options = {name: value for name, value in given.items() if name in known}
    stop = options.pop("stop", ())
    stop = (stop,) if isinstance(stop, str) else tuple(stop)
    options["grammar"] = read_grammar(options.get("grammar"))
    return GenerationOptions(**options, stop=stop), rest


def _check(name: str, value: Any) -> None:
    path = f"parameters.{name}"
    if name in _IDLE:
        if value not in _IDLE[name]:
            raise InvalidParameterError(f"`{path}` is not offered here: leave it out.", path)
        return
    holds, says = _RULES[name]
    if not holds(value):
        raise InvalidParameterError(f"`{path}` must be {says}.", path)
