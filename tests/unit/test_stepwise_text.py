"""Tokens to text, piece by piece, and the options of a call; no model."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from deployments.errors import InvalidParameterError
from deployments.stepwise.options import GenerationOptions, split_options
from deployments.stepwise.text import Detokenizer


def _bytes(ids: list[int]) -> str:
    """A tokenizer of bytes, in which 256 is a token that the text leaves out."""
    return bytes(one for one in ids if one < 256).decode(errors="replace")


def _words(ids: list[int]) -> str:
    """As sentencepiece decodes: a space before each word but the first."""
    return " ".join("abcdefg"[one % 7] for one in ids)


@given(st.text(max_size=40), st.lists(st.integers(0, 40), max_size=5))
def test_pieces_are_the_text_and_never_half_a_character(text: str, skipped: list[int]) -> None:
    ids = list(text.encode())
    for place in skipped:
        ids.insert(place, 256)
    detokenizer = Detokenizer(_bytes)
    pieces = [detokenizer.push(one) for one in ids]
    assert "".join(pieces) == text or text.endswith("\ufffd")
    assert "".join(pieces) + detokenizer.rest(text) == text
    assert all(len(piece) <= 1 for piece in pieces if "\ufffd" not in text)


@given(st.lists(st.integers(0, 255), max_size=30))
def test_noise_is_told_as_the_tokenizer_tells_it(ids: list[int]) -> None:
    detokenizer = Detokenizer(_bytes)
    pieces = [detokenizer.push(one) for one in ids]
    assert "".join(pieces) + detokenizer.rest(_bytes(ids)) == _bytes(ids)


@given(
    st.lists(st.tuples(st.sampled_from([65, 128, 200, 240, 256, 257]), st.integers(1, 60)), max_size=6),
    st.text(max_size=5),
)
@example([(200, 1), (256, 20), (128, 1)], "")  # the other half of a character comes late
def test_tokens_that_give_no_text_for_long_are_told_as_the_tokenizer_tells_them(
    runs: list[tuple[int, int]], text: str
) -> None:
    ids = [one for one, count in runs for _ in range(count)] + list(text.encode())
    detokenizer = Detokenizer(_bytes)
    pieces = [detokenizer.push(one) for one in ids]
    assert "".join(pieces) + detokenizer.rest(_bytes(ids)) == _bytes(ids)


def test_spaces_outlive_tokens_that_give_no_text() -> None:
    ids = [0, *[7] * 50, 1, *[7] * 90, 2]
    detokenizer = Detokenizer(lambda given: _words([one for one in given if one < 7]))
    assert "".join(detokenizer.push(one) for one in ids) == "a b c"


@pytest.mark.parametrize("token", [256, 240, 128])
def test_work_does_not_grow_with_tokens_that_give_no_text(token: int) -> None:
    decoded = []

    def decode(ids: list[int]) -> str:
        decoded.append(len(ids))
        return _bytes(ids)

    detokenizer = Detokenizer(decode)
    for _ in range(500):
        detokenizer.push(token)
        detokenizer.peek(65)
    assert max(decoded) < 64


@given(st.lists(st.integers(0, 6), max_size=20))
def test_spaces_depend_on_what_was_before(ids: list[int]) -> None:
    detokenizer = Detokenizer(_words)
    pieces = []
    for one in ids:
        foreseen = detokenizer.peek(one)
        pieces.append(detokenizer.push(one))
        assert pieces[-1] == foreseen
    assert "".join(pieces) == _words(ids)


def test_stop_is_not_the_pipelines_own() -> None:
    options, rest = split_options({"stop": "x", "stop_sequence": "y", "top_k": 2, "seed": 5, "watermark": False})
    assert options == GenerationOptions(seed=5, stop=("x",))
    assert rest == {"stop_sequence": "y", "top_k": 2}
    assert options.needs_steps() == ["seed"]
    assert split_options({"seed": None, "stop": []}) == (GenerationOptions(), {})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", 2**63),
        ("seed", True),
        ("seed", 1.0),
        ("details", 1),
        ("top_n_tokens", 21),
        ("truncate", 0),
        ("frequency_penalty", 2.5),
        ("presence_penalty", "1"),
        ("stop", [1]),
        ("stop", "x" * 257),
        ("stop", ["x"] * 17),
        ("stop", {}),
        ("best_of", 2),
        ("grammar", {}),
        ("adapter_id", "x"),
        ("watermark", True),
    ],
)
def test_wrong_values_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InvalidParameterError) as refused:
        split_options({name: value})
    assert refused.value.field == f"parameters.{name}"
    assert f"`parameters.{name}`" in str(refused.value)
