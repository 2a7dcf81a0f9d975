"""Texts at which an answer ends: found where upstream finds them, without upstream's table.

``StopStringCriteria`` of transformers works out where each token of the vocabulary fits into the texts, for every call
anew: seconds for a few hundred characters, and gigabytes for many more. Here only the tokens that come are looked at.
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import StoppingCriteria
from transformers.generation.stopping_criteria import StopStringCriteria

_BEFORE = "abcdef"  # what a token says may depend on there being something before it


class TokenTexts:
    """What each token says by itself, as ``StopStringCriteria`` has it.

    Args:
        tokenizer: belongs to the thread that makes this; later, its tokens are looked up from another.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.mode = StopStringCriteria._get_stop_string_matching_mode(tokenizer)  # None where texts are not bytes
        self._bytes = StopStringCriteria._byte_level_decoder() if self.mode == "byte_level" else None
        before = tokenizer(_BEFORE, add_special_tokens=False)["input_ids"]
        self._before = [tokenizer.convert_ids_to_tokens(one) for one in before]
        self._known: dict[int, Any] = {}

    def __call__(self, token: int) -> Any:
        """Bytes or a string; None of a token that is none of the vocabulary's."""
        if token not in self._known:
            self._known[token] = self._read(token)
        return self._known[token]

    def _read(self, token: int) -> Any:
        name = self._tokenizer.convert_ids_to_tokens(token)
        if name is None:
            return None
        found = StopStringCriteria._token_to_bytes(name, self.mode, self._bytes)
        if found is not None:
            return found
        _, found, text = self._tokenizer.convert_tokens_to_string([*self._before, name]).partition(_BEFORE)
        if not found:
            return None
        return text if self.mode is None else text.encode()


class StopTexts(StoppingCriteria):  # type: ignore[misc]
    """Ends a sequence whose last token completes one of some texts.

    Args:
        texts: what tokens say.
        stops: the texts, none of them empty.
        begin: tokens at the beginning of a sequence that do not count.
    """

    def __init__(self, texts: TokenTexts, stops: Sequence[str], begin: int = 0) -> None:
        self.stop_strings = tuple(stops)
        self._texts = texts
        self._begin = begin
        self._sought: list[Any] = [stop if texts.mode is None else stop.encode() for stop in stops]
        self._most = max(map(len, self._sought))

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """See `StoppingCriteria`."""
        ends = [self._ended(row) for row in input_ids[:, self._begin :][:, -self._most :].tolist()]
        return torch.tensor(ends, device=input_ids.device, dtype=torch.bool)

    def _ended(self, tokens: list[int]) -> bool:
        last = self._texts(tokens.pop()) if tokens else None
        if not last:
            return False
        before = last[:0]
        while tokens and len(before) < self._most:
            more = self._texts(tokens.pop())
            if more is None:
                break
            before = more + before
        text = before + last  # a text must end within the last token: it would have ended the sequence earlier else
        return any(text.find(stop, max(0, len(before) - len(stop) + 1)) >= 0 for stop in self._sought)


def criteria(tokenizer: Any, anywhere: Sequence[str], answer: Sequence[str], begin: int) -> list[StopTexts]:
    """What ends a sequence at one of some texts.

    Args:
        tokenizer: see `TokenTexts`.
        anywhere: texts that may begin in the prompt, as upstream's.
        answer: texts of which the prompt is no part.
        begin: tokens of the prompt.
    """
    if not anywhere and not answer:
        return []
    texts = TokenTexts(tokenizer)
    places = ((anywhere, 0), (answer, begin))
    return [StopTexts(texts, stops, place) for stops, place in places if stops]


def listed(stops: str | Sequence[str] | None) -> list[str]:
    """``stop_strings`` as a list."""
    return [stops] if isinstance(stops, str) else [*(stops or ())]
