"""The store of texts' beginnings: exact, bounded, and the least recently used goes first."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deployments.stepwise.prefixes import BLOCK, Prefixes, States


class Config(SimpleNamespace):
    """As transformers' own, as far as it is asked."""

    def get_text_config(self, decoder: bool) -> "Config":
        assert decoder
        return self


def store(most: int, **config: Any) -> Prefixes:
    made = Prefixes(SimpleNamespace(config=Config(**config)))
    made.bound(most)
    return made


def keep(prefixes: Prefixes, ids: list[int]) -> list[tuple[int, int]]:
    """Keep a text whose only layer has its tokens as keys; what was copied."""
    read: list[tuple[int, int]] = []

    def states(begin: int, end: int) -> States:
        read.append((begin, end))
        piece = torch.tensor(ids[begin:end], dtype=torch.float32).reshape(1, -1, 1)
        return [(piece, -piece)]

    prefixes.keep(ids, states)
    return read


_TEXTS = st.lists(st.lists(st.integers(0, 1), min_size=0, max_size=5 * BLOCK), min_size=1, max_size=6)


@given(texts=_TEXTS, asked=st.lists(st.integers(0, 1), min_size=1, max_size=5 * BLOCK))
def test_what_is_known_is_the_longest_common_beginning_in_blocks(texts: list[list[int]], asked: list[int]) -> None:
    prefixes = store(10**6)
    for text in texts:
        keep(prefixes, text)

    def common(text: list[int]) -> int:
        whole = min(len(text), len(asked) - 1) // BLOCK * BLOCK
        return next((at for at in range(0, whole, BLOCK) if text[at : at + BLOCK] != asked[at : at + BLOCK]), whole)

    known = prefixes.known(asked)
    assert known == max(map(common, texts))
    if known:
        ((keys, values),) = prefixes.states(asked, known - 3)
        assert keys.flatten().tolist() == asked[: known - 3]
        assert values.flatten().tolist() == [-token for token in asked[: known - 3]]


def test_what_is_kept_is_not_copied_again() -> None:
    prefixes = store(10**6)
    text = list(range(3 * BLOCK))
    assert len(keep(prefixes, text)) == 3
    assert keep(prefixes, [*text[: 2 * BLOCK], *[7] * BLOCK]) == [(2 * BLOCK, 3 * BLOCK)]
    assert len(prefixes) == 4 * BLOCK


def test_the_least_recently_used_goes_first_and_a_beginning_last() -> None:
    prefixes = store(4 * BLOCK)
    first, second = [0] * (2 * BLOCK + 1), [1] * (2 * BLOCK + 1)
    keep(prefixes, first)
    keep(prefixes, second)
    prefixes.states(first, BLOCK)  # used again
    keep(prefixes, [2] * BLOCK)
    assert prefixes.known(first) == BLOCK  # its end was not asked for
    assert prefixes.known(second) == 2 * BLOCK
    keep(prefixes, [3] * BLOCK)
    assert (prefixes.known(first), prefixes.known(second)) == (BLOCK, BLOCK)


def test_a_text_longer_than_the_store_keeps_its_beginning() -> None:
    prefixes = store(2 * BLOCK)
    text = list(range(5 * BLOCK))
    keep(prefixes, text)
    assert prefixes.known(text) == 2 * BLOCK


def test_less_room_takes_effect_at_once() -> None:
    prefixes = store(4 * BLOCK)
    keep(prefixes, list(range(4 * BLOCK)))
    prefixes.bound(BLOCK)
    assert len(prefixes) == BLOCK
    prefixes.stop()
    prefixes.bound(4 * BLOCK)
    keep(prefixes, list(range(4 * BLOCK)))
    assert not len(prefixes)


@pytest.mark.parametrize(
    ("config", "keeps"),
    [
        ({}, True),
        ({"rope_parameters": {"rope_type": "llama3"}}, True),
        ({"rope_parameters": {"rope_type": "dynamic"}}, False),
        ({"rope_parameters": {"full_attention": {"rope_type": "longrope"}}}, False),
        ({"rope_scaling": {"type": "dynamic"}}, False),
    ],
)
def test_angles_that_go_by_length_are_not_kept(config: dict[str, Any], keeps: bool) -> None:
    prefixes = store(4 * BLOCK, **config)
    keep(prefixes, list(range(4 * BLOCK)))
    assert bool(len(prefixes)) is keeps
