"""One answer on its way to the client: content without its stops, reasoning, calls of tools, and tokens."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deployments.events import MessagePart, TokenText
from graph.openai.stops import Stops

Scored = tuple[TokenText, tuple[TokenText, ...]]
"""A token and the likeliest at its place."""
Pieces = list[tuple[MessagePart, list[Scored]]]
"""Parts that may be told, each with those of its tokens that were noted."""


@dataclass(frozen=True)
class Wishes:
    """What an answer is to be made of.

    Args:
        stops: texts that end the content and are no part of it.
        forced: whether the content is the JSON of a call, as a grammar made it.
        one_call: whether all calls but the first are left out.
    """

    stops: tuple[str, ...] = ()
    forced: bool = False
    one_call: bool = False


class Choice:
    """The parts of one answer, as they may be told.

    Args:
        wishes: of the request.
    """

    def __init__(self, wishes: Wishes) -> None:
        self._wishes = wishes
        self._stops = Stops(() if wishes.forced else wishes.stops)
        self._forced = ""
        self._told = self._seen = 0  # characters of content told, and that came
        self._noted: list[Scored] = []  # since the last content
        self._tokens: list[tuple[int, Scored]] = []  # of content, by where they begin
        self.calls = 0

    def push(self, parts: Iterable[MessagePart]) -> list[MessagePart]:
        """What of ``parts`` may be told by now."""
        return [told for part in parts for told in self._push(part)]

    def end(self) -> list[MessagePart]:
        """What is left when nothing more comes."""
        if self._wishes.forced:
            call = _forced_call(self._forced)
            if call is None:
                return self._content(self._forced)
            self._tokens = []
            return self._call(call)
        return self._content(self._stops.end())

    def told(self, parts: Iterable[MessagePart], last: bool = False) -> Pieces:
        """What may be told by now, piece by piece with its tokens.

        Args:
            parts: that came.
            last: whether nothing more comes.
        """
        found = self.push(parts)
        if last:
            found += self.end()
        return [(part, self.scored() if part.kind == "content" else []) for part in found]

    def score(self, token: TokenText, top: Sequence[TokenText]) -> None:
        """Note a token; before the parts that it adds are pushed."""
        self._noted.append((token, tuple(top)))

    def scored(self, last: bool = False) -> list[Scored]:
        """The noted tokens of the content told by now.

        Those of a stop and behind it are none of it, nor are those of reasoning, of calls and of the marks around them.

        Args:
            last: whether nothing more comes.
        """
        every = not self._stops.holds and not self._stops.cut
        ready = [one for start, one in self._tokens if every or start < self._told]
        self._tokens = [] if last else self._tokens[len(ready) :]
        return ready

    @property
    def stopped(self) -> bool:
        """Whether a stop was found."""
        return self._stops.cut

    def _push(self, part: MessagePart) -> list[MessagePart]:
        if part.kind == "tool_call":
            return self._call(part)
        if part.kind == "reasoning":
            return [part]
        self._place(part.text)
        if self._wishes.forced:
            self._forced += part.text
            return []
        return self._content(self._stops.push(part.text))

    def _place(self, text: str) -> None:
        """Find the noted tokens of a piece of content: the last ones, as marks come before what they mark."""
        before, self._seen = self._seen, self._seen + len(text)
        start, found = self._seen, []
        while self._noted and (start > before or not self._noted[-1][0].text):
            one = self._noted.pop()
            start = max(before, start - len(one[0].text))
            found.append((start, one))
        self._tokens += reversed(found)
        self._noted = []

    def _content(self, text: str) -> list[MessagePart]:
        self._told += len(text)
        return [MessagePart("content", text)] if text else []

    def _call(self, part: MessagePart) -> list[MessagePart]:
        if self.stopped or (self._wishes.one_call and self.calls):
            return []
        self.calls += 1
        return [part]


def _forced_call(text: str) -> MessagePart | None:
    """The call in JSON that a grammar made; None where it was cut off."""
    try:
        call = json.loads(text)
        return MessagePart("tool_call", json.dumps(call["arguments"], ensure_ascii=False), str(call["name"]))
    except (ValueError, KeyError, TypeError):
        return None
