"""Parameters that would make an input, a batch or an answer enormous: refused before room is made."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from deployments import prepare
from deployments.errors import InvalidParameterError, PayloadTooLargeError
from deployments.parameters import accepted_names, merge_parameters
from deployments.prepare import bounded
from deployments.tasks import TASKS


@pytest.mark.parametrize(
    ("task", "given"),
    [
        ("text-classification", {"padding": "max_length", "max_length": 2**31 - 1}),
        ("question-answering", {"padding": "max_length", "max_seq_len": 2**30}),
        ("text-generation", {"num_return_sequences": 10**6}),
        ("text-generation", {"num_beams": 10**6}),
        ("text-generation", {"max_length": 2**31 - 1}),
        ("video-classification", {"num_frames": 2**31 - 1}),
        ("mask-generation", {"points_per_crop": 10**5}),
        ("mask-generation", {"crops_n_layers": 30}),
        ("image-feature-extraction", {"image_processor_kwargs": {"size": {"height": 10**6, "width": 10**6}}}),
        ("image-feature-extraction", {"image_processor_kwargs": {"size": 10**6}}),
        ("zero-shot-image-classification", {"tokenizer_kwargs": {"max_length": 2**30, "padding": "max_length"}}),
        ("text-to-audio", {"preprocess_params": {"max_length": 2**30}}),
    ],
)
def test_a_parameter_that_asks_for_endless_room_is_refused(task: str, given: dict[str, Any]) -> None:
    spec = TASKS[task]
    asked = {**spec.example_parameters, **given}
    with pytest.raises(InvalidParameterError, match="|".join(given)):
        merge_parameters(spec, accepted_names(spec), {}, asked)


def test_an_input_in_endless_pieces_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless:
        def __iter__(self) -> Iterator[dict[str, Any]]:
            while True:
                yield {"input_features": np.zeros(2**20, np.float32), "is_last": False}

    with pytest.raises(PayloadTooLargeError, match="pieces"):
        bounded(Endless())
    monkeypatch.setattr(prepare, "MOST_PIECE_BYTES", 2**62)
    with pytest.raises(PayloadTooLargeError, match="20000 pieces"):
        bounded({"is_last": False} for _ in itertools.count())
