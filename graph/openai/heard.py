"""A streamed transcript: ``transcript.text.delta`` events, then ``transcript.text.done``."""

from collections.abc import Callable, Iterable, Sequence

from starlette.responses import Response

from deployments.errors import PipelineGraphError
from deployments.events import Event, Heard
from graph.openai.errors import openai_error
from graph.stream import EventSource, block, respond


async def answer_heard(
    source: EventSource[Event], request_id: str, named: Callable[[PipelineGraphError], PipelineGraphError]
) -> Response:
    """The response to a transcription with ``stream``.

    Args:
        source: events of the transcript.
        request_id: as in the header.
        named: an error of the model → one about a field of this route.

    Raises:
        PipelineGraphError: the request was refused.
    """
    try:
        return await respond(source, Deltas(), lambda error: block(openai_error(named(error), request_id)[1]))
    except PipelineGraphError as error:
        raise named(error) from None


class Deltas:
    """Pieces of a transcript → blocks of the event stream; together they are the text of the last event.

    That one has no white space around it, so the first delta has none before it, and what ends a delta waits for the
    next.
    """

    def __init__(self) -> None:
        self._begun = False
        self._space = ""

    def __call__(self, events: Sequence[Event]) -> Iterable[bytes]:
        """The blocks of some events."""
        for event in events:
            if isinstance(event, Heard):
                if delta := self._delta(event.text):
                    yield block({"type": "transcript.text.delta", "delta": delta})
                if event.output is not None:
                    yield block({"type": "transcript.text.done", "text": event.output["text"].strip()})

    def _delta(self, text: str) -> str:
        text = self._space + text if self._begun else text.lstrip()
        said = text.rstrip()
        self._space = text[len(said) :]
        self._begun = self._begun or bool(said)
        return said
