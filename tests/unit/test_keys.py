"""Keys: equal for what means the same, and for nothing else."""

from enum import Enum
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from deployments.keys import value_key
from deployments.payload import Media, Tensor


class Colour(Enum):
    RED = 1


def _image(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (1, True),
        (1, 1.0),
        (0, False),
        (0, None),
        ("1", 1),
        ([1], (1,)),
        ([1], [True]),
        ({"a": 1}, {"a": 1.0}),
        ({"a": 1}, {"b": 1}),
        (np.zeros(2), np.zeros(2, np.float32)),
        (np.zeros(2), np.ones(2)),
        (np.zeros((1, 2)), np.zeros(2)),
        (torch.zeros(2), torch.ones(2)),
        (Tensor(np.zeros(1), "float32"), Tensor(np.zeros(1), "bfloat16")),
        (Media(b"a", "image"), Media(b"a", "audio")),
        (Media(b"a", "image"), Media(b"b", "image")),
        (_image(0), _image(1)),
        (Colour.RED, 1),
        (object(), object()),
        (lambda: 1, lambda: 1),
    ],
)
def test_other_meaning_other_key(mine: Any, theirs: Any) -> None:
    """``1 == True == 1.0`` to Python, but ``top_k=1.0`` is no ``top_k=1`` to text classification."""
    assert value_key(mine) != value_key(theirs)


@pytest.mark.parametrize(
    "make",
    [
        lambda: {"a": [1, (2.0, "x")], "b": None},
        lambda: np.arange(5),
        lambda: torch.arange(3),
        lambda: Tensor(np.arange(3), "int64"),
        lambda: Media(b"abc", "image", "inputs"),
        lambda: _image(3),
        lambda: Colour.RED,
        lambda: np.float32(0.5),
    ],
)
def test_same_meaning_same_key(make: Any) -> None:
    assert value_key(make()) == value_key(make())
    assert hash(value_key(make())) == hash(value_key(make()))


def test_order_of_the_names_does_not_matter() -> None:
    assert value_key({"a": 1, "b": 2}) == value_key({"b": 2, "a": 1})


def test_unknown_object_equals_itself() -> None:
    thing = Colour.__class__
    assert value_key(thing) == value_key(thing)
