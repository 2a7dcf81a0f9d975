"""Keys: equal for what means the same, and for nothing else."""

from enum import Enum
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from deployments.keys import parameters_key, request_key, value_key
from deployments.payload import Media, Tensor


class Colour(Enum):
    RED = 1


def _image(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8))


def _turned(orientation: int) -> Image.Image:
    image = _image(0)
    image.getexif()[0x0112] = orientation
    return image


_LONG = "the same beginning of a text " * 9


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
        (_turned(1), _turned(6)),
        (_LONG, _LONG + "."),
        (_LONG, _LONG.encode()),
        (_LONG.encode(), _LONG.encode() + b"."),
        ("\ud800" + _LONG, "\ud801" + _LONG),
        ({"City": ["a"], "Rivers": ["b"]}, {"Rivers": ["b"], "City": ["a"]}),
        ({1: "a"}, {"1": "a"}),
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
        lambda: _turned(6),
        lambda: _LONG + "!",
        lambda: Colour.RED,
        lambda: np.float32(0.5),
    ],
)
def test_same_meaning_same_key(make: Any) -> None:
    assert value_key(make()) == value_key(make())
    assert hash(value_key(make())) == hash(value_key(make()))


def test_order_of_the_parameters_does_not_matter() -> None:
    mine, theirs = {"a": 1, "b": {"c": 2}}, {"b": {"c": 2}, "a": 1}
    assert request_key("x", mine) == request_key("x", theirs)
    assert parameters_key(mine) == parameters_key(theirs)


def test_order_inside_a_value_does_matter() -> None:
    """The columns of a table and the properties of a schema are read in their order."""
    table = {"City": ["Paris"], "Rivers": ["Seine"]}
    reversed_table = dict(reversed(table.items()))
    assert request_key({"query": "?", "table": table}, {}) != request_key({"query": "?", "table": reversed_table}, {})
    schema = {"properties": {"name": {"type": "string"}, "age": {"type": "integer"}}}
    other = {"properties": dict(reversed(schema["properties"].items()))}
    assert request_key("x", {"grammar": schema}) != request_key("x", {"grammar": other})
    assert parameters_key({"grammar": schema}) != parameters_key({"grammar": other})


@pytest.mark.parametrize("inputs", [_LONG * 1000, [_LONG] * 1000, ["short"] * 1000, {"text": _LONG * 1000}])
def test_key_of_a_request_is_short_however_long_the_request(inputs: Any) -> None:
    assert len(request_key(inputs, {"parameter": inputs})) == 32
    assert request_key(inputs, {}) != request_key(inputs, {"parameter": inputs})


def test_unknown_object_equals_itself() -> None:
    thing = Colour.__class__
    assert value_key(thing) == value_key(thing)
