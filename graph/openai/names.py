"""Errors of the models, which speak of the pipelines' parameters, in the words of the OpenAI routes."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from deployments.errors import PipelineGraphError, RequestError
from deployments.events import Event
from graph.stream import EventSource

_PARAMETER = re.compile(r"\bparameters\.(?:generate_kwargs\.)?(\w+)")
_VARIABLE = re.compile(r"\bchat_template_kwargs\.\w+")
_INPUTS = re.compile(r"(?:(?<=`)|^)inputs\b")
# the pipelines' names → the fields here
_FIELDS = {
    "max_new_tokens": "max_tokens",
    "min_new_tokens": "min_tokens",
    "grammar": "response_format",
    "details": "logprobs",
    "top_n_tokens": "top_logprobs",
    "sequence_bias": "logit_bias",
    "do_sample": "temperature",
    "stop_sequence": "stop",
    "tokenizer_encode_kwargs": "chat_template_kwargs",
}
_HINT = ", or send the parameter `truncate`"  # which these routes do not have


def in_words(error: PipelineGraphError, names: Mapping[str, str]) -> PipelineGraphError:
    """``error`` with the fields of a route in place of the pipelines' own.

    Args:
        error: as a model raised it.
        names: of this request, over the usual ones; ``inputs`` among them, and variables of the chat template that
            have a field of their own (``chat_template_kwargs.reasoning_effort``).
    """
    if not isinstance(error, RequestError):
        return error
    fields = {**_FIELDS, **names}

    def told(text: str) -> str:
        text = _PARAMETER.sub(lambda found: fields.get(found[1], found[1]), text.replace(_HINT, ""))
        text = _VARIABLE.sub(lambda found: fields.get(found[0], found[0]), text)
        return _INPUTS.sub(fields["inputs"], text)

    return type(error)(told(error.message), None if error.field is None else told(error.field))


@contextmanager
def words_of(names: Mapping[str, str]) -> Iterator[None]:
    """Errors that are raised within, `in_words`.

    Raises:
        PipelineGraphError: as it was raised, in other words.
    """
    try:
        yield
    except RequestError as error:
        raise in_words(error, names) from None


class Worded:
    """A stream whose errors are `in_words`.

    Args:
        source: its events.
        names: of the fields.
    """

    def __init__(self, source: EventSource[Event], names: Mapping[str, str]) -> None:
        self._source, self._names = source, names

    async def __anext__(self) -> list[Event]:
        """The next ones.

        Raises:
            PipelineGraphError: the request failed.
        """
        with words_of(self._names):
            return await self._source.__anext__()

    def cancel(self) -> None:
        """Nobody listens any more."""
        self._source.cancel()
