"""Whose fault an exception is: the caller's while inputs are read and prepared, ours while the model runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from deployments.blame import explain, explain_parameters
from deployments.errors import (
    InferenceError,
    InvalidInputError,
    InvalidParameterError,
    MissingDependencyError,
    OverloadedError,
    PipelineGraphError,
)


class PipelineException(Exception):
    pass


def _caught(run: Callable[[], Any]) -> BaseException:
    try:
        run()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def _raise(error: BaseException) -> Any:
    raise error


class Model(torch.nn.Module):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def forward(self) -> None:
        raise self.error


def generate(error: BaseException) -> Any:
    """Its name is what counts, as that of transformers' ``generate``."""
    raise error


def test_panic_of_a_tokenizer_is_the_callers_outside_of_the_model() -> None:
    panic = type("PanicException", (BaseException,), {})
    found = explain(_caught(lambda: _raise(panic("`stride` must be strictly less than `max_len=81`"))))
    assert type(found) is InvalidInputError
    assert "The tokenizer cannot take this input" in found.message
    assert "`max_len=81`" in found.message
    assert type(explain(_caught(lambda: Model(panic("secret"))()))) is InferenceError


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    """Of words, one token each."""
    inner = Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="?")


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"truncation": "only_second"}, "Second sequence not provided"),
        ({"truncation": "only_first", "text_pair": "a a a a"}, "too short to respect"),
    ],
)
def test_text_that_a_tokenizer_cannot_cut_is_the_callers(
    parameters: dict[str, Any], says: str, tokenizer: PreTrainedTokenizerFast
) -> None:
    error = _caught(lambda: tokenizer("a a a", max_length=2, **parameters))
    assert type(error) is Exception, "tokenizers has an error of its own for it now"
    found = explain(error)
    assert type(found) is InvalidInputError
    assert "The tokenizer cannot take this input" in found.message
    assert says in found.message

    class Reading(torch.nn.Module):
        def forward(self) -> None:
            tokenizer("a a a", max_length=2, **parameters)

    assert type(explain(_caught(lambda: Reading()()))) is InferenceError


def test_bare_exception_of_something_else_is_ours() -> None:
    assert type(explain(_caught(lambda: _raise(Exception("secret"))))) is InferenceError


def test_film_that_cannot_be_decoded_is_the_callers_and_shows_no_file(tmp_path: Path) -> None:
    path = tmp_path / "film.video"
    path.write_bytes(bytes(4096))
    error = _caught(lambda: av.open(str(path)))
    assert isinstance(error, av.error.InvalidDataError)
    assert path.name in str(error)
    found = explain(error)
    assert type(found) is InvalidInputError
    assert found.field == "inputs"
    assert "cannot be decoded" in found.message
    assert path.name not in found.message


def test_film_whose_file_is_gone_is_ours(tmp_path: Path) -> None:
    error = _caught(lambda: av.open(str(tmp_path / "gone.video")))
    assert isinstance(error, av.error.FFmpegError)
    assert type(explain(error)) is InferenceError


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("cannot open '/tmp/tmpab1_c.video': 2", "cannot open '(a file)': 2"),
        ("in /opt/venv/lib/python3.11/x.py, line 3", "in (a file), line 3"),
        ("got <PIL.Image.Image image mode=L at 0x7F00ab12cd>", "got <PIL.Image.Image image mode=L>"),
        ("use https://host.org/a/b, and/or 1/2 of image/png", "use https://host.org/a/b, and/or 1/2 of image/png"),
    ],
)
def test_sentence_tells_nothing_of_this_machine(said: str, told: str) -> None:
    assert explain(_caught(lambda: _raise(ValueError(said)))).message.endswith(f": {told}")
    assert explain_parameters(ValueError(said)).message.endswith(f": {told}")


CALLERS = [ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError, PipelineException]


@pytest.mark.parametrize("kind", CALLERS)
def test_error_while_preparing_is_the_callers(kind: type[Exception]) -> None:
    found = explain(_caught(lambda: _raise(kind("no [MASK] in it"))))
    assert type(found) is InvalidInputError
    assert found.field == "inputs"
    assert "no [MASK] in it" in found.message


@pytest.mark.parametrize("kind", CALLERS)
def test_error_in_generate_before_the_model_is_about_the_parameters(kind: type[Exception]) -> None:
    found = explain(_caught(lambda: generate(kind("`temperature` must be positive"))))
    assert type(found) is InvalidParameterError
    assert found.field == "parameters"
    assert "`temperature` must be positive" in found.message


@pytest.mark.parametrize("kind", [*CALLERS, RuntimeError, MemoryError])
def test_error_in_the_model_is_ours_and_shows_nothing(kind: type[Exception]) -> None:
    found = explain(_caught(lambda: Model(kind("secret weights at 0x7f"))()))
    assert type(found) is InferenceError
    assert "secret" not in str(found)


@pytest.mark.parametrize("kind", [RuntimeError, OSError, MemoryError, ZeroDivisionError, RecursionError])
def test_error_that_no_input_explains_is_ours(kind: type[Exception]) -> None:
    assert type(explain(_caught(lambda: _raise(kind("secret"))))) is InferenceError


def test_input_longer_than_the_model_is_the_callers_with_both_lengths() -> None:
    error = _caught(lambda: Model(IndexError("index out of range in self"))())
    found = explain(error, 600, 512)
    assert type(found) is InvalidInputError
    assert "600 tokens" in found.message
    assert "at most 512" in found.message


@pytest.mark.parametrize(("tokens", "most"), [(512, 512), (5, 512), (None, 512), (600, None)])
def test_input_that_fits_is_not_blamed(tokens: int | None, most: int | None) -> None:
    assert type(explain(_caught(lambda: Model(IndexError("x"))()), tokens, most)) is InferenceError


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ImportError("DecisionPipeline requires the torchvision library"), "pip install torchvision"),
        (ModuleNotFoundError("No module named 'pandas'"), "pipeline-graph[tables]"),
        (ValueError("If you provide an image without word_boxes, pytesseract must be installed"), "word_boxes"),
        (
            type("TesseractNotFoundError", (OSError,), {})("tesseract is not installed or it's not in your PATH"),
            "apt-get",
        ),
        (ImportError("Please install gguf>=0.10.0"), "pipeline-graph[gguf]"),
    ],
)
def test_missing_package_is_named_with_how_to_install_it(error: Exception, says: str) -> None:
    found = explain(_caught(lambda: _raise(error)))
    assert type(found) is MissingDependencyError
    assert says in found.message


def test_input_that_speaks_of_a_package_is_not_a_missing_package() -> None:
    found = explain(_caught(lambda: _raise(ValueError("no mask token in 'tesseract was a hypercube'"))))
    assert type(found) is InvalidInputError


def test_unknown_missing_package_is_ours() -> None:
    assert type(explain(_caught(lambda: _raise(ImportError("libsecret.so"))))) is InferenceError


@pytest.mark.parametrize("error", [InvalidInputError("x", "inputs[1]"), OverloadedError("x", 3.0)])
def test_our_own_error_passes(error: PipelineGraphError) -> None:
    assert explain(error) is error
    assert explain_parameters(error) is error


def test_sentence_is_one_short_line() -> None:
    found = explain(_caught(lambda: _raise(ValueError("first\nsecond " + "x" * 9))))
    assert "\n" not in found.message
    assert "second" not in found.message
    assert len(explain(_caught(lambda: _raise(ValueError("x" * 9000)))).message) < 600
    assert "ValueError" in explain(_caught(lambda: _raise(ValueError("")))).message


def test_refused_parameters_are_told_as_the_pipeline_says() -> None:
    found = explain_parameters(TypeError("got an unexpected keyword argument 'a'\nmore"))
    assert type(found) is InvalidParameterError
    assert found.message.endswith("got an unexpected keyword argument 'a'")
