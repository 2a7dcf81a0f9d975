"""How an answer is generated: the fields that chats, responses and completions share → parameters of the pipelines."""

from typing import Annotated, Any, ClassVar

from pydantic import Field, StringConstraints

from deployments.config import ModelConfig
from deployments.errors import InvalidParameterError
from deployments.stepwise.options import MOST_STOP, MOST_STOPS
from deployments.tasks import TaskSpec
from graph.openai.fields import Body, Idle

MOST_ANSWERS = 32
_Stop = Annotated[str, StringConstraints(min_length=1, max_length=MOST_STOP)]
_TokenId = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,9}$")]
_Bias = Annotated[float, Field(ge=-100, le=100)]


class StreamOptions(Body):
    """``stream_options``."""

    idle: ClassVar[Idle] = {
        "include_obfuscation": (False, True)
    }  # that of OpenAI hides the length of tokens; we have none


class CompletionStreamOptions(StreamOptions):
    """``stream_options`` of completions."""

    include_usage: bool = False


class Sampling(Body):
    """The fields that completions and responses have."""

    model: str | None = None
    min_tokens: Annotated[int, Field(ge=0)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    logit_bias: dict[_TokenId, _Bias] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**62)] | None = None
    stop: _Stop | Annotated[list[_Stop], Field(max_length=MOST_STOPS)] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None

    def check(self) -> None:
        """Refuse what fits no other field.

        Raises:
            InvalidParameterError: names it.
        """
        if self.stream_options is not None and not self.stream:
            raise InvalidParameterError("`stream_options` is for `stream: true`.", "stream_options")

    @property
    def stops(self) -> tuple[str, ...]:
        """Texts at which an answer ends."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    def generation(self, most: int | None) -> dict[str, Any]:
        """Settings of transformers' ``generate``; what is not set is left to the model.

        Args:
            most: tokens of an answer, or None.
        """
        found: dict[str, Any] = {} if most is None else {"max_new_tokens": most}
        if self.min_tokens:
            found["min_new_tokens"] = self.min_tokens
        if self.repetition_penalty is not None:
            found["repetition_penalty"] = self.repetition_penalty
        if self.logit_bias:
            found["sequence_bias"] = [[[int(token)], bias] for token, bias in self.logit_bias.items()]
        return found | self._choice()

    def _choice(self) -> dict[str, Any]:
        """How a token is chosen. Whoever narrows the choice wants one: left alone, a model that is greedy stays so."""
        if self.temperature == 0:
            return {"do_sample": False}
        top_k = None if self.top_k is None else max(0, self.top_k)
        asked = {"temperature": self.temperature, "top_p": self.top_p, "top_k": top_k, "min_p": self.min_p}
        given = {name: value for name, value in asked.items() if value is not None}
        return {**given, "do_sample": True} if given else {}

    def options(self) -> dict[str, Any]:
        """Parameters that this server adds to the pipelines."""
        asked = {
            "stop": list(self.stops) or None,
            "frequency_penalty": self.frequency_penalty or None,
            "presence_penalty": self.presence_penalty or None,
        }
        return {name: value for name, value in asked.items() if value is not None}


class Completing(Sampling):
    """The fields that both kinds of completions have."""

    max_tokens: Annotated[int, Field(ge=1)] | None = None
    n: Annotated[int, Field(ge=1, le=MOST_ANSWERS)] = 1
    stream_options: CompletionStreamOptions | None = None

    @property
    def tells_usage(self) -> bool:
        """Whether a stream ends with its usage."""
        return self.stream_options is not None and self.stream_options.include_usage


def seeded(parameters: dict[str, Any], seed: int | None, index: int) -> dict[str, Any]:
    """``parameters`` of answer ``index`` of several: each has a seed of its own, the first one the caller's."""
    return parameters if seed is None else {**parameters, "seed": seed + index}


def call_parameters(
    spec: TaskSpec, config: ModelConfig, generation: dict[str, Any], options: dict[str, Any]
) -> dict[str, Any]:
    """The parameters of a call of a model, in the form of its task.

    Args:
        spec: the task.
        config: the model's configuration, whose defaults stay in force.
        generation: settings of ``generate``.
        options: parameters of this server's own.

    Raises:
        InvalidParameterError: the task does not have one of ``options``.
    """
    options = dict(options)
    if "stop" in options and "stop" not in spec.added:
        options["stop_sequence"] = options.pop("stop")
    for name in options:
        if name not in spec.added | spec.parameters:
            raise InvalidParameterError(f"`parameters.{name}` is not offered by {spec.name}.", f"parameters.{name}")
    if spec.generates:
        return {"return_full_text": False, **generation, **options}
    nested = {**config.parameters.get("generate_kwargs", {}), **generation}
    most = generation.get("max_new_tokens")
    if most is not None:  # which upstream refuses to find in two places
        nested.pop("max_new_tokens", None)
        options["max_new_tokens"] = most
    return {"return_full_text": False, "generate_kwargs": nested, **options}
