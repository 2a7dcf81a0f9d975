"""Errors: each class has its status, survives a process border, and reads well to callers and to huggingface_hub."""

import json
import pickle
import re

import httpx2  # what huggingface_hub itself speaks HTTP with
import pytest
from huggingface_hub.errors import BadRequestError, HfHubHTTPError
from huggingface_hub.utils import hf_raise_for_status

from deployments import errors
from graph.status import INTERNAL, STATUS, describe, error_body, status_of


def _walk(root: type[errors.PipelineGraphError]) -> list[type[errors.PipelineGraphError]]:
    children = [child for child in root.__subclasses__() if not child.__module__.startswith("tests.")]
    return [root, *(found for child in children for found in _walk(child))]


CLASSES = _walk(errors.PipelineGraphError)
REQUEST = [kind for kind in CLASSES if issubclass(kind, errors.RequestError)]
OVERLOADED = [kind for kind in CLASSES if issubclass(kind, errors.OverloadedError)]


def test_every_exception_of_the_module_is_in_the_tree() -> None:
    raised = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, BaseException)}
    assert raised == {kind for kind in CLASSES if kind.__module__ == errors.__name__}


@pytest.mark.parametrize("kind", CLASSES)
def test_every_class_has_its_own_status(kind: type[errors.PipelineGraphError]) -> None:
    assert kind in STATUS
    assert status_of(kind("it went wrong")) == STATUS[kind]


def test_a_class_without_a_row_has_the_status_of_its_base() -> None:
    class TooOddError(errors.InvalidInputError):
        pass

    assert status_of(TooOddError("too odd")) == STATUS[errors.InvalidInputError]


@pytest.mark.parametrize("kind", CLASSES)
def test_only_what_the_caller_can_mend_is_the_callers_fault(kind: type[errors.PipelineGraphError]) -> None:
    status, _ = status_of(kind("it went wrong"))
    if issubclass(kind, errors.RequestError):
        assert 400 <= status < 500
        assert status not in (408, 425, 429)  # these ask for the same request again
    elif kind in (errors.OverloadedError, errors.RateLimitedError):
        assert status == 429
    elif kind is errors.SlowBodyError:
        assert status == 408  # asks for the same request again, at another speed
    else:
        assert 500 <= status < 600


def test_no_two_classes_share_a_word() -> None:
    """The Python client finds the class by the word."""
    words = [word for _, word in STATUS.values()]
    assert len(set(words)) == len(words)
    assert all(re.fullmatch(r"[a-z_]+", word) for word in words)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_crosses_processes_whole(kind: type[errors.PipelineGraphError], protocol: int) -> None:
    error = kind("it went wrong")
    found = pickle.loads(pickle.dumps(error, protocol))
    assert type(found) is kind
    assert (str(found), vars(found), found.args) == (str(error), vars(error), error.args)


@pytest.mark.parametrize("kind", REQUEST)
def test_the_field_crosses_processes(kind: type[errors.RequestError]) -> None:
    assert pickle.loads(pickle.dumps(kind("wrong", "inputs[1].image"))).field == "inputs[1].image"


@pytest.mark.parametrize("kind", OVERLOADED)
def test_the_time_to_wait_crosses_processes(kind: type[errors.OverloadedError]) -> None:
    assert pickle.loads(pickle.dumps(kind("full", 2.5))).retry_after_s == 2.5


def test_all_mistakes_of_a_configuration_cross_processes_and_are_shown() -> None:
    found = pickle.loads(pickle.dumps(errors.ConfigError("mistakes:", ("args.a: no.", "args.b: no."))))
    assert found.mistakes == ("args.a: no.", "args.b: no.")
    assert all(line in str(found) for line in ("mistakes:", "args.a: no.", "args.b: no."))


@pytest.mark.parametrize("kind", CLASSES)
def test_the_message_is_all_that_is_shown(kind: type[errors.PipelineGraphError]) -> None:
    assert str(kind("it went wrong")) == "it went wrong"


@pytest.mark.parametrize("kind", CLASSES)
def test_the_body_has_the_one_shape(kind: type[errors.PipelineGraphError]) -> None:
    status, body, _ = describe(kind("it went wrong"), "id-1")
    if issubclass(kind, errors.ModelUnavailableError):
        assert body.pop("estimated_time") == kind("it went wrong").retry_after_s
    assert (status, body) == (
        STATUS[kind][0],
        {"error": "it went wrong", "error_type": STATUS[kind][1], "request_id": "id-1"},
    )
    json.dumps(body, allow_nan=False)


@pytest.mark.parametrize("kind", REQUEST)
def test_the_body_names_the_field_at_fault(kind: type[errors.RequestError]) -> None:
    assert describe(kind("wrong", "inputs[1].image"), "id-1")[1]["field"] == "inputs[1].image"


def test_an_unforeseen_error_says_nothing_of_its_cause() -> None:
    status, word, message = INTERNAL
    assert (status, word) == STATUS[errors.PipelineGraphError]
    assert error_body(message, word, "id-1") == {"error": message, "error_type": word, "request_id": "id-1"}


@pytest.mark.parametrize("kind", OVERLOADED)
@pytest.mark.parametrize(("seconds", "header"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (1.5, "2"), (30, "30")])
def test_retry_after_is_whole_seconds_and_never_too_early(
    kind: type[errors.OverloadedError], seconds: float, header: str
) -> None:
    assert describe(kind("full", seconds), "id-1")[2] == {"retry-after": header}


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if kind not in OVERLOADED])
def test_nobody_is_asked_to_retry_what_will_fail_again(kind: type[errors.PipelineGraphError]) -> None:
    assert "retry-after" not in describe(kind("it went wrong"), "id-1")[2]


@pytest.mark.parametrize("kind", CLASSES)
def test_huggingface_hub_shows_the_message(kind: type[errors.PipelineGraphError]) -> None:
    status, body, headers = describe(kind("it went wrong"), "id-1")
    request = httpx2.Request("POST", "http://127.0.0.1/models/x")
    answer = httpx2.Response(status, json=body, headers={**headers, "x-request-id": "id-1"}, request=request)
    with pytest.raises(HfHubHTTPError, match="it went wrong") as caught:
        hf_raise_for_status(answer)
    assert caught.value.server_message == "it went wrong"
    assert "id-1" in str(caught.value)
    assert isinstance(caught.value, BadRequestError) == (status == 400)


def _documented() -> dict[str, str | None]:
    """Class → the class above it, in the tree that the module's docstring draws."""
    found: dict[str, str | None] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"(    [│├└─ ]*)([A-Z]\w+Error)\b", line)
        if match:
            depth, name = len(match[1]), match[2]
            above = [(other, upper) for other, upper in above if other < depth]
            found[name] = above[-1][1] if above else None
            above.append((depth, name))
    return found


def test_the_documented_tree_names_every_class() -> None:
    assert sorted(_documented()) == sorted(kind.__name__ for kind in CLASSES if kind.__module__ == errors.__name__)


@pytest.mark.parametrize(("name", "above"), _documented().items())
def test_the_documented_tree_draws_each_class_under_its_base(name: str, above: str | None) -> None:
    kind = getattr(errors, name)
    assert above == (None if kind is errors.PipelineGraphError else kind.__base__.__name__)
