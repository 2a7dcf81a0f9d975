"""A transcript while it is made: the text that the first pieces of a sound say for certain."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deployments.events import Heard
from deployments.work import Call, Chunk, Work

_SELDOM = 16  # all readings of a transcript together cost as much as this many of the whole, however long it is


@dataclass(frozen=True)
class Unfinished:
    """Requests of whose sound another piece has been through the model."""

    works: Sequence[Work]


def unfinished(batch: Sequence[Chunk]) -> Unfinished:
    """The streamed requests in ``batch`` that have pieces left."""
    works = {id(chunk.work): chunk.work for chunk in batch if chunk.generation is None}
    return Unfinished([work for work in works.values() if work.emit is not None and not work.handed_on])


class Hearer:
    """Reads transcripts early.

    Args:
        pipe: a speech recognition pipeline of the calling thread's own.
    """

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe

    def more(self, work: Work) -> list[Heard]:
        """What can be told now; nothing until the pieces from the first on say more than was told.

        Pieces overlap, and where the next one joins, the end of a piece is dropped for the beginning of the next. So
        the text without as much as the last piece says is sure, and no more.
        """
        call = work.calls[0]
        ready = _ready(call)
        # all of them are read again, which for a sound of hours may not be done for each new one
        if len(ready) <= work.heard + work.heard // _SELDOM:
            return []
        work.heard = len(ready)
        text = self._text(call, ready)
        sure = text[: max(0, len(text) - len(self._text(call, ready[-1:])))].rstrip("\N{REPLACEMENT CHARACTER}")
        if len(sure) <= len(work.told) or not sure.startswith(work.told):
            return []
        said, work.told = sure[len(work.told) :], sure
        return [Heard(said)]

    def last(self, work: Work, answer: Any) -> Heard:
        """The rest of the text, with the whole answer."""
        text = answer["text"]
        return Heard(text[len(work.told) :] if text.startswith(work.told) else "", answer)

    def _text(self, call: Call, outputs: Sequence[Any]) -> str:
        return str(self._pipe.postprocess(outputs, **call.postprocess)["text"])


def _ready(call: Call) -> list[Any]:
    """The outputs of the first pieces, up to one that has not been through the model."""
    missing = next((place for place, output in enumerate(call.outputs) if output is None), len(call.outputs))
    return call.outputs[:missing]
