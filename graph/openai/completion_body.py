"""The body of ``/v1/completions``, and the calls of the model that it asks for."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from deployments.errors import InvalidParameterError, PayloadTooLargeError
from graph.dispatch import Target
from graph.openai.fields import Idle
from graph.openai.sampling import MOST_ANSWERS, Completing, call_parameters, seeded

TASKS = ("text-generation",)


class CompletionBody(Completing):
    """The body of a request for a completion."""

    idle: ClassVar[Idle] = {"suffix": ("",)}

    prompt: str | list[str] | list[int] | list[list[int]]
    echo: bool = False
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    best_of: int | None = None

    def check(self) -> None:
        """Refuse what fits no other field.

        Raises:
            InvalidParameterError: names it.
        """
        super().check()
        if self.best_of not in (None, self.n):
            raise InvalidParameterError("`best_of` is not offered here: leave it out, or let it be `n`.", "best_of")
        if self.echo and self.logprobs is not None:
            raise InvalidParameterError(
                "`logprobs` of an echoed prompt are not offered here: leave out `echo` or `logprobs`.", "logprobs"
            )
        if not self.prompt and not isinstance(self.prompt, str):
            raise InvalidParameterError("`prompt` is an empty list.", "prompt")
        if not isinstance(self.prompt, str) and any(not isinstance(text, str) for text in self.prompt):
            raise InvalidParameterError("`prompt` as token ids is not offered here: send text.", "prompt")
        if self.stream and len(self.prompts) * self.n > MOST_ANSWERS:
            raise InvalidParameterError(
                f"`stream` is for {MOST_ANSWERS} answers at most, `prompt` times `n`.", "stream"
            )

    @property
    def prompts(self) -> list[str]:
        """The prompts."""
        return [self.prompt] if isinstance(self.prompt, str) else [str(text) for text in self.prompt]

    def path(self, index: int) -> str:
        """Where prompt ``index`` stands."""
        return "prompt" if isinstance(self.prompt, str) else f"prompt[{index}]"


@dataclass(frozen=True)
class Wanted:
    """One answer.

    Args:
        prompt: the text.
        path: where in the body the text stands.
        parameters: of the call.
    """

    prompt: str
    path: str
    parameters: dict[str, Any]

    @property
    def names(self) -> dict[str, str]:
        """Of fields in errors."""
        return {"inputs": self.path}


def wanted_of(body: CompletionBody, target: Target, most: int) -> list[Wanted]:
    """The answers that ``body`` asks of the model ``target``, prompt by prompt.

    Args:
        body: of the request.
        target: the model.
        most: answers that a request may have (>=1).

    Raises:
        PayloadTooLargeError: there are more.
        RequestError: the model cannot be asked so; in words of the pipelines, see `graph.openai.names`.
    """
    if len(body.prompts) * body.n > most:
        raise PayloadTooLargeError(
            f"`prompt` times `n` asks for {len(body.prompts) * body.n} answers; at most {most} are given.", "prompt"
        )
    options = {
        **body.options(),
        **({"seed": body.seed} if body.seed is not None else {}),
        **({"details": True} if body.logprobs is not None else {}),
        **({"top_n_tokens": body.logprobs} if body.logprobs else {}),
    }
    parameters = call_parameters(target.spec, target.config, body.generation(body.max_tokens), options)
    return [
        Wanted(
            target.spec.inputs.read(prompt, body.path(place)), body.path(place), seeded(parameters, body.seed, index)
        )
        for place, prompt in enumerate(body.prompts)
        for index in range(body.n)
    ]
