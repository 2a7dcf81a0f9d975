"""Keys and values of texts that came before, for prompts that begin the same: a system prompt, a chat that goes on.

Texts are kept in blocks of 16 tokens. A block is found by its own tokens and the block before it, compared whole: no
hash stands for them, so nobody gets what belongs to another text. The block used least recently goes first.
"""

import itertools
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

BLOCK = 16
"""Tokens of a block."""

States = list[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values of some tokens of one text, a pair for each layer, each of shape (heads, tokens, size)."""

_Key = tuple[int, tuple[int, ...]]  # number of the block before it, and its tokens


@dataclass(frozen=True)
class _Block:
    number: int
    states: States


class Prefixes:
    """Beginnings of texts of one model. One thread.

    Args:
        model: with angles that go by a text's length, nothing is kept: its beginning has other states then.
    """

    def __init__(self, model: Any) -> None:
        self._fit = _fit_for(model)
        self._most = 0
        self._blocks: OrderedDict[_Key, _Block] = OrderedDict()
        self._numbers = itertools.count(1)

    def __len__(self) -> int:
        """Tokens kept."""
        return len(self._blocks) * BLOCK

    def bound(self, most_tokens: int) -> None:
        """Keep up to ``most_tokens`` (>=0) in all from now on; before the first call, nothing is kept."""
        self._most = most_tokens // BLOCK if self._fit else 0
        self._cut()

    def known(self, ids: Sequence[int]) -> int:
        """How many of the first tokens are kept, but for the last one: it must run, to say what follows it."""
        return len(self._chain(ids[:-1])) * BLOCK

    def states(self, ids: Sequence[int], count: int) -> States:
        """Those of the first ``count`` tokens, which are `known`."""
        chain = self._chain(ids[:-1])[: -(-count // BLOCK)]
        self._used(chain)
        pieces = [block.states for _, block in chain]
        return [
            (
                torch.cat([keys for keys, _ in layer], 1)[:, :count],
                torch.cat([values for _, values in layer], 1)[:, :count],
            )
            for layer in zip(*pieces, strict=True)
        ]

    def keep(self, ids: Sequence[int], read: Callable[[int, int], States]) -> None:
        """Keep a text that ran.

        Args:
            ids: its tokens.
            read: gives copies of the states from one token to another.
        """
        chain = self._chain(ids)
        number, whole = chain[-1][1].number if chain else 0, min(len(ids) // BLOCK, self._most)
        for begin in range(len(chain) * BLOCK, whole * BLOCK, BLOCK):
            key, block = (
                (number, tuple(ids[begin : begin + BLOCK])),
                _Block(next(self._numbers), read(begin, begin + BLOCK)),
            )
            self._blocks[key] = block
            chain.append((key, block))
            number = block.number
        self._used(chain)
        self._cut()

    def stop(self) -> None:
        """Keep nothing any more."""
        self._fit, self._most = False, 0
        self._blocks.clear()

    def _used(self, chain: Sequence[tuple[_Key, _Block]]) -> None:
        for key, _ in reversed(chain):  # the beginning is used last, and so outlives what stands behind it
            self._blocks.move_to_end(key)

    def _cut(self) -> None:
        while len(self._blocks) > self._most:
            self._blocks.popitem(last=False)

    def _chain(self, ids: Sequence[int]) -> list[tuple[_Key, _Block]]:
        number, found = 0, []
        for begin in range(0, len(ids) - BLOCK + 1, BLOCK):
            key = number, tuple(ids[begin : begin + BLOCK])
            block = self._blocks.get(key)
            if block is None:
                break
            found.append((key, block))
            number = block.number
        return found


def _fit_for(model: Any) -> bool:
    config = model.config.get_text_config(decoder=True)
    told = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    kinds = {str(value) for one in (told, *told.values()) if isinstance(one, dict) for value in one.values()}
    return not kinds & {"dynamic", "longrope"}
