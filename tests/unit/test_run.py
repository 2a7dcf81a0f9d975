"""One pipeline's runs: each input its own outcome, nobody pays for a neighbour, answers that can travel."""

import copy
import logging
import pickle
from typing import Any

import numpy as np
import pytest
import torch

from deployments.config import MediaLimits, ModelConfig
from deployments.errors import InferenceError, InvalidInputError, InvalidParameterError, PipelineGraphError
from deployments.fake import FakePipeline
from deployments.load import Loaded
from deployments.payload import Tensor
from deployments.run import PipelineRunner, failed, pack_tensors


def _runner(pipe: Any, task: str = "fake") -> PipelineRunner:
    return PipelineRunner(ModelConfig(name="m", task=task), Loaded(pipe, None), MediaLimits())


def _run(pipe: Any, inputs: list[Any], parameters: dict[str, Any] | None = None, task: str = "fake") -> list[Any]:
    return _runner(pipe, task).run(inputs, parameters or {}, [f"id-{index}" for index in range(len(inputs))])


class Pipe(FakePipeline):
    """Answers with what it was called with; ``answer`` may do otherwise."""

    def __init__(self, answer: Any = None) -> None:
        super().__init__()
        self.calls: list[tuple[Any, dict[str, Any]]] = []
        self._answer = answer

    def __call__(self, inputs: Any = None, **parameters: Any) -> Any:
        self.calls.append((copy.deepcopy(inputs), copy.deepcopy(parameters)))
        return self._answer(inputs, parameters) if self._answer else super().__call__(inputs, **parameters)


def test_inputs_that_may_share_a_batch_go_together() -> None:
    pipe = FakePipeline()
    assert _run(pipe, ["a", "b", "c"]) == [{"echo": name, "batch_size": 3} for name in "abc"]
    assert pipe.batch_sizes == [3]


def test_one_input_goes_as_it_is() -> None:
    pipe = Pipe()
    assert _run(pipe, ["a"]) == [{"echo": "a", "batch_size": 1}]
    assert pipe.calls == [("a", {})]


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_only_the_input_at_fault_fails(bad: int, caplog: pytest.LogCaptureFixture) -> None:
    inputs = ["a", "b", "c"]
    with caplog.at_level(logging.ERROR):
        outcomes = _run(FakePipeline(), inputs, {"fail_on": inputs[bad]})
    assert [failed(outcome) for outcome in outcomes] == [index == bad for index in range(3)]
    assert [o["echo"] for o in outcomes if not failed(o)] == [name for name in inputs if name != inputs[bad]]
    assert type(outcomes[bad]) is InferenceError
    assert "as it was told to" not in str(outcomes[bad])
    assert f"id-{bad}" in caplog.text
    assert all(f"id-{index}" not in caplog.text for index in range(3) if index != bad)


def test_wrong_number_of_answers_makes_each_go_alone() -> None:
    pipe = Pipe(lambda inputs, _: ["only one"] if isinstance(inputs, list) else f"{inputs}!")
    assert _run(pipe, ["a", "b"]) == ["a!", "b!"]


def test_inputs_of_a_task_that_is_not_batchable_go_alone() -> None:
    pipe = Pipe()
    _run(pipe, ["a", "b"], task="feature-extraction")
    assert [inputs for inputs, _ in pipe.calls] == ["a", "b"]


class Greedy(Pipe):
    """Takes keys out of the caller's own dictionaries, as speech recognition does upstream."""

    def _sanitize_parameters(self, **parameters: Any) -> Any:
        parameters.get("generate_kwargs", {}).clear()
        return {}, {}, {}

    def __call__(self, inputs: Any = None, **parameters: Any) -> Any:
        answer = {"saw": dict(parameters["generate_kwargs"])}
        parameters["generate_kwargs"].clear()
        if isinstance(inputs, list):
            raise RuntimeError("each alone, please")
        return answer


def test_parameters_belong_to_each_call_alone() -> None:
    parameters = {"generate_kwargs": {"max_new_tokens": 3}}
    assert _run(Greedy(), ["a", "b"], parameters) == [{"saw": {"max_new_tokens": 3}}] * 2
    assert parameters == {"generate_kwargs": {"max_new_tokens": 3}}


def test_parameters_that_the_pipeline_refuses_fail_before_any_run() -> None:
    class Refusing(Pipe):
        def _sanitize_parameters(self, **_: Any) -> Any:
            raise ValueError("`stride` must be less than 5")

    pipe = Refusing()
    outcomes = _run(pipe, ["a", "b"], {"stride": 9})
    assert [type(outcome) for outcome in outcomes] == [InvalidParameterError] * 2
    assert all("`stride` must be less than 5" in str(outcome) for outcome in outcomes)
    assert pipe.calls == []


def test_callers_fault_is_told_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(*_: Any) -> Any:
        raise ValueError("no mask token")

    with caplog.at_level(logging.ERROR):
        (outcome,) = _run(Pipe(refuse), ["a"])
    assert type(outcome) is InvalidInputError
    assert "no mask token" in str(outcome)
    assert not caplog.records


@pytest.mark.parametrize("count", [1, 2])
def test_answer_of_a_task_whose_single_answer_is_a_list_is_a_list_in_any_batch(count: int) -> None:
    """``pipe("a")`` gives ``[answer]`` and ``pipe(["a", "b"])`` gives ``[answer, answer]``."""

    def answer(inputs: Any, _: Any) -> Any:
        label = {"label": "x", "score": 0.5}
        return [label] * len(inputs) if isinstance(inputs, list) else [label]

    outcomes = _run(Pipe(answer), ["a"] * count, task="text-classification")
    assert outcomes == [[{"label": "x", "score": 0.5}]] * count


@pytest.mark.parametrize(
    ("task", "one", "call"),
    [
        ("image-text-to-text", "a", (None, {"text": "a"})),
        ("any-to-any", {"text": "a"}, (None, {"text": "a"})),
        ("question-answering", {"question": "a", "context": "b"}, ({"question": "a", "context": "b"}, {})),
    ],
)
def test_input_is_handed_over_in_the_call_form_of_its_task(task: str, one: Any, call: Any) -> None:
    pipe = Pipe(lambda *_: "answer")
    assert _run(pipe, [one], task=task) == ["answer"]
    assert pipe.calls == [call]


def test_input_too_long_is_told_with_its_length() -> None:
    class Long(Pipe):
        class model:
            class config:
                max_position_embeddings = 4

        @staticmethod
        def tokenizer(text: str) -> dict[str, list[int]]:
            return {"input_ids": list(range(len(text.split())))}

    def overflow(*_: Any) -> Any:
        raise RuntimeError("size mismatch")

    (outcome,) = _run(Long(overflow), ["a b c d e"])
    assert type(outcome) is InvalidInputError
    assert "5 tokens" in str(outcome)
    assert "at most 4" in str(outcome)
    (outcome,) = _run(Long(overflow), ["a b"])
    assert type(outcome) is InferenceError


@pytest.mark.parametrize("where", ["feature_extractor", "processor"])
def test_sampling_rate_is_the_models(where: str) -> None:
    part = type("Part", (), {"sampling_rate": 8000})()
    pipe = Pipe()
    assert _runner(pipe).sampling_rate is None
    setattr(pipe, where, part if where == "feature_extractor" else type("P", (), {"feature_extractor": part})())
    assert _runner(pipe).sampling_rate == 8000


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]
)
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_tensor_travels_with_its_values_and_the_name_of_its_type(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tensor = torch.arange(1, 1 + int(np.prod(shape))).reshape(shape).to(dtype)
    packed = pack_tensors(tensor)
    assert type(packed) is Tensor
    assert packed.dtype == str(tensor.dtype).removeprefix("torch.")
    assert torch.equal(torch.from_numpy(packed.array).to(dtype), tensor)


def test_tensor_that_needs_a_gradient_travels_too() -> None:
    assert pack_tensors(torch.ones(2, requires_grad=True) * 2).array.tolist() == [2, 2]


def test_tensors_are_packed_wherever_they_stand_and_the_rest_stays() -> None:
    array, text = np.ones(2), "a"
    value = {"a": [torch.ones(1), (torch.zeros(1), 3)], "b": array, "c": text}
    packed = pack_tensors(value)
    assert type(packed["a"][0]) is Tensor
    assert type(packed["a"][1]) is tuple
    assert type(packed["a"][1][0]) is Tensor
    assert packed["a"][1][1] == 3
    assert packed["b"] is array
    assert b"torch" not in pickle.dumps(packed, 4).replace(b"torch.", b"")


def test_failed_tells_errors_from_answers() -> None:
    assert failed(InferenceError("x"))
    assert not failed({"error": "x"})
    assert issubclass(InferenceError, PipelineGraphError)
