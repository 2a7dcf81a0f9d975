"""What a streamed answer consists of, as it crosses a deployment handle. No torch.

A stream is one `Started`, then a `Step` for each token; the last one has its `Finish`. Of a transcript, it is one
`Started`, then a `Heard` for each piece. They come in lists: what is there by the time the receiver looks.
"""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias


@dataclass(frozen=True, repr=False)
class TokenText:
    """A token as text.

    Args:
        id: its number.
        text: what it adds to the answer: nothing while a character is not complete, nor for a token that the answer
            leaves out. All of them together are the answer's new text.
        logprob: natural logarithm of its probability by the model's own scores; None where there is none.
        special: whether the tokenizer counts it among its special tokens.
    """

    id: int
    text: str
    logprob: float | None
    special: bool

    def json(self) -> dict[str, Any]:
        """As text-generation-inference writes it."""
        return {"id": self.id, "text": self.text, "logprob": self.logprob, "special": self.special}


@dataclass(frozen=True, repr=False)
class Finish:
    """How an answer ended.

    Args:
        reason: ``length``, ``eos_token`` or ``stop_sequence``.
        generated_tokens: tokens of the answer, the end token included.
        input_length: tokens of the prompt.
        seed: of its random numbers; None where none were drawn.
        text: the new text.
        output: what the pipeline returns.
        reasoning_tokens: of a chat, how many the reasoning in it comes to.
    """

    reason: str
    generated_tokens: int
    input_length: int
    seed: int | None
    text: str
    output: Any
    reasoning_tokens: int = 0


@dataclass(frozen=True, repr=False)
class MessagePart:
    """A piece of an assistant's message.

    Args:
        kind: what the piece belongs to; a call of a tool is always whole.
        text: of the content or the reasoning; of a call, its arguments as JSON.
        name: of the tool that is called.
    """

    kind: Literal["content", "reasoning", "tool_call"]
    text: str
    name: str = ""


@dataclass(frozen=True)
class Started:
    """The request was found good, and waits or runs; its prompt has ``input_length`` tokens."""

    input_length: int


@dataclass(frozen=True, repr=False)
class Step:
    """One token.

    Args:
        index: 1 for the first, as text-generation-inference counts.
        token: it.
        top: the likeliest at its place, likeliest first, where they were asked for.
        finish: how the answer ended, with its last token.
        parts: of a chat whose model marks reasoning or calls, what the token adds to the message; None elsewhere.
    """

    index: int
    token: TokenText
    top: tuple[TokenText, ...] = ()
    finish: Finish | None = None
    parts: tuple[MessagePart, ...] | None = None


Event: TypeAlias = Started | Step


@dataclass(frozen=True, repr=False)
class Heard:
    """A piece of a transcript; not among `Event`, as no stream has both.

    Args:
        text: what it adds; all of them together are the text.
        output: with the last piece, what the pipeline returns.
    """

    text: str
    output: Any = None
