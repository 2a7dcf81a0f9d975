"""Log-probabilities of an answer's tokens, as chat and as plain completions have them."""

from collections.abc import Sequence
from typing import Any

from deployments.events import TokenText
from deployments.payload import TaskResult
from graph.openai.choice import Scored

_NEVER = -9999.0  # OpenAI's word for a probability of nothing


def scored_tokens(result: TaskResult) -> list[Scored]:
    """The tokens in the details of an answer, without the token that ended it."""
    details = result.output[0]["details"]
    tokens = [TokenText(**token) for token in details["tokens"]]
    tops = [tuple(TokenText(**token) for token in top) for top in details.get("top_tokens", [])]
    tops = tops or [()] * len(tokens)
    pairs = list(zip(tokens, tops, strict=True))
    return pairs[:-1] if details["finish_reason"] == "eos_token" else pairs


def chat_logprobs(scored: Sequence[Scored]) -> dict[str, Any]:
    """``logprobs`` of a chat completion."""
    return {"content": [{**_token(token), "top_logprobs": [_token(one) for one in top]} for token, top in scored]}


def _token(token: TokenText) -> dict[str, Any]:
    """Of a character that takes several tokens, the last one has the bytes of all."""
    return {"token": token.text, "bytes": list(token.text.encode(errors="replace")), "logprob": _number(token.logprob)}


def plain_logprobs(scored: Sequence[Scored], offset: int) -> dict[str, Any]:
    """``logprobs`` of a plain completion.

    Args:
        scored: the tokens.
        offset: characters of the text before them.
    """
    offsets = []
    for token, _ in scored:
        offsets.append(offset)
        offset += len(token.text)
    return {
        "tokens": [token.text for token, _ in scored],
        "token_logprobs": [_number(token.logprob) for token, _ in scored],
        "top_logprobs": [{one.text: _number(one.logprob) for one in reversed(top)} for _, top in scored],
        "text_offset": offsets,
    }


def _number(logprob: float | None) -> float:
    return _NEVER if logprob is None else logprob
