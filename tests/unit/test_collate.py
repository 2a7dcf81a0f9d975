"""Which chunks fit together, what they cost, and that what comes back out of a batch is each one's own."""

from typing import Any

import numpy as np
import pytest
import torch
from transformers.modeling_outputs import SequenceClassifierOutput

from deployments import collate


def _text(width: int, **more: Any) -> dict[str, Any]:
    return {"input_ids": torch.ones(1, width, dtype=torch.long), **more}


@pytest.mark.parametrize(
    ("mine", "theirs", "padded", "equal"),
    [
        (_text(3), _text(3), True, True),
        (_text(3), _text(5), True, False),
        (_text(3), _text(3, attention_mask=torch.ones(1, 3)), False, False),
        (_text(3), {"input_ids": torch.ones(1, 3)}, False, False),  # of another type
        ({"pixel_values": torch.ones(1, 3, 4, 4)}, {"pixel_values": torch.ones(1, 3, 4, 8)}, False, False),
        ({"input_features": torch.ones(1, 8, 40)}, {"input_features": torch.ones(1, 9, 40)}, True, False),
        ({"input_features": torch.ones(1, 8, 40)}, {"input_features": torch.ones(1, 8, 41)}, False, False),
    ],
)
def test_what_fits_together(mine: dict[str, Any], theirs: dict[str, Any], padded: bool, equal: bool) -> None:
    assert (collate.signature(mine, "padded") == collate.signature(theirs, "padded")) == padded
    assert (collate.signature(mine, "equal") == collate.signature(theirs, "equal")) == equal


@pytest.mark.parametrize("inputs", [{"input_ids": torch.ones(2, 3)}, {"scale": torch.tensor(1.0)}])
def test_what_is_not_one_row_fits_with_nothing(inputs: dict[str, Any]) -> None:
    assert collate.signature(inputs, "padded") is None


@pytest.mark.parametrize(
    ("inputs", "unit", "cost"),
    [
        (_text(7), "tokens", 7),
        (_text(7, decoder_input_ids=torch.ones(1, 9)), "tokens", 9),
        ({"pixel_values": torch.ones(1, 3, 4, 5)}, "pixels", 20),
        ({"pixel_values": torch.ones(1, 2, 3, 4, 5)}, "pixels", 40),
        ({"input_values": torch.ones(1, 8000)}, "seconds", 1),
        ({"input_features": torch.ones(1, 80, 3000)}, "seconds", 30),
    ],
)
def test_cost_of_a_row(inputs: dict[str, Any], unit: Any, cost: float) -> None:
    assert collate.size(inputs, unit, 8000) == cost


def test_stacked_rows_are_split_into_the_same_rows() -> None:
    rows = [{"logits": torch.full((1, 2), float(index)), "name": f"row {index}"} for index in range(3)]
    parts = collate.split(collate.stack(rows), 3)
    for row, part in zip(rows, parts, strict=True):
        assert torch.equal(part["logits"], row["logits"])
        assert part["name"] == row["name"]


def test_outputs_of_layers_and_of_several_sequences_are_split_by_row() -> None:
    layers = tuple(torch.arange(4.0).reshape(2, 2) + 10 * layer for layer in range(3))
    first, second = collate.split(SequenceClassifierOutput(logits=torch.eye(2), hidden_states=layers), 2)
    assert [layer.tolist() for layer in second.hidden_states] == [[[2.0, 3.0]], [[12.0, 13.0]], [[22.0, 23.0]]]
    assert first.logits.tolist() == [[1.0, 0.0]]
    assert [part.tolist() for part in collate.split(np.arange(6), 2)] == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("outputs", [torch.ones(3, 2), torch.ones(0, 2), torch.tensor(1.0), "text"])
def test_outputs_of_other_rows_are_refused(outputs: Any) -> None:
    with pytest.raises(ValueError, match="row"):
        collate.split(outputs, 2)


@pytest.mark.parametrize(("side", "left"), [("right", [0, 1]), ("left", [2, 3])])
def test_padding_is_taken_off_on_its_side(side: str, left: list[int]) -> None:
    outputs = {"logits": torch.arange(4)[None], "other": torch.arange(4)[None]}
    collate.trim(outputs, frozenset({"logits"}), 4, 2, side)
    assert outputs["logits"].tolist() == [left]
    assert outputs["other"].tolist() == [[0, 1, 2, 3]]
