"""HTTP bodies → calls: what huggingface_hub puts where, lists and single inputs, and every refusal."""

import base64
import io
import json
from contextlib import suppress
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from huggingface_hub import InferenceClient
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from deployments.codec import MEDIA_TYPE, to_json
from deployments.errors import (
    InvalidInputError,
    InvalidParameterError,
    MalformedRequestError,
    PayloadTooLargeError,
    RequestError,
)
from deployments.payload import Media
from deployments.tasks import TASKS
from deployments.tasks.compound import Pair
from deployments.tasks.forms import LocalMedia, RemoteMedia
from graph.decode import Call, read_body, read_call, read_model
from graph.json_body import parse_json
from graph.stream import wants_stream


def png(mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (3, 2)).save(buffer, "PNG")
    return buffer.getvalue()


PNG = png()
B64 = base64.b64encode(PNG).decode()
URL = "https://example.org/cat.png"


def call(task: str, root: dict[str, Any], most: int = 100) -> Call:
    return read_call(TASKS[task], root, most)


def over_http(task: str, root: Any) -> Call:
    return call(task, read_body(json.dumps(root).encode(), "application/json"))


# --- the body ---------------------------------------------------------------------------------------------------------

JSON_TYPES = ["application/json", "", "application/json; charset=utf-8", "Application/JSON", "text/json"]


@pytest.mark.parametrize("content_type", JSON_TYPES)
def test_a_json_body_is_read_under_every_name_of_json(content_type: str) -> None:
    assert read_body(b'{"inputs": "a"}', content_type) == {"inputs": "a"}


def test_what_curl_sends_without_a_header_is_read() -> None:
    assert read_body(b'{"inputs": "a"}', "application/x-www-form-urlencoded") == {"inputs": "a"}


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"inputs": }', b"{'inputs': 1}", b"\xff\xfe\x00", b'{"a": 1} x', b"\x89PNG\r\n", b'"\\ud83"', PNG],
)
def test_malformed_json_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedRequestError):
        read_body(body, "application/json")


@pytest.mark.parametrize("body", [b"[1]", b'"a"', b"1", b"null", b"true", b"[]"])
@pytest.mark.parametrize("content_type", ["application/json", MEDIA_TYPE])
def test_json_that_is_no_object_is_refused(body: bytes, content_type: str) -> None:
    with pytest.raises(MalformedRequestError, match="object"):
        read_body(body, content_type)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_every_number_is_finite(number: str) -> None:
    """RFC 8259 has no NaN; a number that float cannot hold would become infinity."""
    with pytest.raises(MalformedRequestError):
        parse_json(f'{{"inputs": "a", "parameters": {{"top_p": {number}}}}}'.encode())


@pytest.mark.parametrize("opening", [b"[", b'{"inputs":'])
@pytest.mark.parametrize("depth", [1_000, 5_000, 100_000])
@pytest.mark.parametrize("content_type", ["application/json", MEDIA_TYPE])
def test_deep_nesting_is_refused_and_does_not_crash(opening: bytes, depth: int, content_type: str) -> None:
    closing = b"]" if opening == b"[" else b"}"
    body = b'{"inputs": ' + opening * depth + b"1" + closing * depth + b"}"
    try:
        call("fake", read_body(body, content_type))
    except RequestError:
        return


def test_unbalanced_depth_is_called_malformed() -> None:
    with pytest.raises(MalformedRequestError):
        parse_json(b"[" * 1_000_000)


def test_a_number_too_long_for_python_is_refused() -> None:
    """``int`` refuses over 4300 digits with a plain ValueError."""
    with pytest.raises(MalformedRequestError):
        read_body(b'{"inputs": ' + b"1" * 5000 + b"}", "application/json")


def test_types_are_kept_over_the_typed_format() -> None:
    body = json.dumps({"inputs": to_json((1, b"\x00")), "parameters": {}}).encode()
    assert read_body(body, MEDIA_TYPE) == {"inputs": (1, b"\x00"), "parameters": {}}


# --- missing, empty, too many -----------------------------------------------------------------------------------------

ALL = sorted(TASKS)


@pytest.mark.parametrize("task", ALL)
@pytest.mark.parametrize("root", [{}, {"inputs": None}, {"parameters": {"x": 1}}, {"input": "a"}])
def test_missing_inputs_are_named(task: str, root: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="inputs") as caught:
        call(task, root)
    assert caught.value.field == "inputs"


@pytest.mark.parametrize("task", [task for task in ALL if not isinstance(TASKS[task].inputs, Pair)])
def test_an_empty_list_is_refused(task: str) -> None:
    with pytest.raises(InvalidInputError):
        call(task, {"inputs": []})


@pytest.mark.parametrize("parameters", [[1], "top_k", 5, True])
def test_parameters_that_are_no_object_are_refused(parameters: Any) -> None:
    with pytest.raises(InvalidParameterError, match="parameters"):
        call("text-classification", {"inputs": "a", "parameters": parameters})


@pytest.mark.parametrize("parameters", [[], "", 0, False])
def test_parameters_that_are_empty_but_no_object_are_refused_too(parameters: Any) -> None:
    with pytest.raises(InvalidParameterError, match="parameters"):
        call("text-classification", {"inputs": "a", "parameters": parameters})


@pytest.mark.parametrize(
    "root", [{"inputs": "a"}, {"inputs": "a", "parameters": None}, {"inputs": "a", "parameters": {}}]
)
def test_no_parameters_are_no_parameters(root: dict[str, Any]) -> None:
    assert call("text-classification", root) == Call(["a"], False, {})


def test_the_limit_counts_inputs() -> None:
    assert len(call("fill-mask", {"inputs": ["a"] * 3}, most=3).items) == 3
    with pytest.raises(PayloadTooLargeError, match="3") as caught:
        call("fill-mask", {"inputs": ["a"] * 4}, most=3)
    assert caught.value.field == "inputs"


# --- one or many ------------------------------------------------------------------------------------------------------

TEXTS = ["text-classification", "token-classification", "fill-mask", "feature-extraction", "zero-shot-classification"]
TEXTS += ["text-generation", "text-to-audio", "summarization", "translation", "text2text-generation"]
IMAGES = ["image-classification", "image-feature-extraction", "image-segmentation", "object-detection"]
IMAGES += ["depth-estimation", "mask-generation", "image-to-image", "image-to-text", "zero-shot-image-classification"]
SOUNDS = ["audio-classification", "automatic-speech-recognition", "zero-shot-audio-classification"]


@pytest.mark.parametrize("task", TEXTS)
def test_one_text_is_one_and_a_list_is_many(task: str) -> None:
    assert call(task, {"inputs": "a b"}) == Call(["a b"], False, {})
    assert call(task, {"inputs": ["a", "b"]}) == Call(["a", "b"], True, {})
    assert call(task, {"inputs": ["a"]}) == Call(["a"], True, {})


@pytest.mark.parametrize(
    ("task", "kind"),
    [*((t, "image") for t in IMAGES), *((t, "audio") for t in SOUNDS), ("video-classification", "video")],
)
def test_one_file_is_one_and_a_list_is_many(task: str, kind: Any) -> None:
    assert over_http(task, {"inputs": B64}) == Call([Media(PNG, kind, "inputs")], False, {})
    assert over_http(task, {"inputs": [B64, URL]}) == Call(
        [Media(PNG, kind, "inputs[0]"), RemoteMedia(URL, kind, "inputs[1]")], True, {}
    )


@pytest.mark.parametrize("task", [*IMAGES, *SOUNDS, "video-classification"])
@pytest.mark.parametrize("path", ["./cat.png", "~/cat.png", "C:\\cat.png", "ftp://h/x"])
def test_no_relative_path_is_read(task: str, path: str) -> None:
    with pytest.raises(InvalidInputError, match="base64"):
        over_http(task, {"inputs": path})


@pytest.mark.parametrize("task", [*IMAGES, *SOUNDS, "video-classification"])
@pytest.mark.parametrize("path", ["/etc/passwd", "file:///etc/passwd"])
def test_an_absolute_path_is_only_a_name_until_the_fetcher_allows_it(task: str, path: str) -> None:
    (item,) = over_http(task, {"inputs": path}).items
    assert item == LocalMedia(path, item.kind, "inputs")


def test_the_wrong_one_of_many_is_named() -> None:
    with pytest.raises(InvalidInputError) as caught:
        call("fill-mask", {"inputs": ["a", "b", 3]})
    assert caught.value.field == "inputs[2]"


def test_two_images_are_one_pair_and_lists_of_them_are_many() -> None:
    one = over_http("keypoint-matching", {"inputs": [B64, URL]})
    assert (one.many, one.items) == (
        False,
        [[Media(PNG, "image", "inputs[0]"), RemoteMedia(URL, "image", "inputs[1]")]],
    )
    many = over_http("keypoint-matching", {"inputs": [[B64, B64], [B64, URL]]})
    assert (many.many, [len(item) for item in many.items]) == (True, [2, 2])
    assert many.items[1][1] == RemoteMedia(URL, "image", "inputs[1][1]")


@pytest.mark.parametrize("inputs", [[], [B64], [B64] * 3, [[B64]], [[B64] * 3], [[B64, B64], B64], B64, {"a": B64}])
def test_anything_but_two_images_is_no_pair(inputs: Any) -> None:
    with pytest.raises(InvalidInputError):
        over_http("keypoint-matching", {"inputs": inputs})


MESSAGES = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]


@pytest.mark.parametrize("task", ["text-generation", "image-text-to-text", "any-to-any"])
def test_a_list_of_messages_is_one_chat_and_a_list_of_lists_many(task: str) -> None:
    assert call(task, {"inputs": MESSAGES}) == Call([MESSAGES], False, {})
    assert call(task, {"inputs": [MESSAGES, MESSAGES[:1]]}) == Call([MESSAGES, MESSAGES[:1]], True, {})


# --- where huggingface_hub puts things --------------------------------------------------------------------------------


class _SentError(Exception):
    """Stops the client once it has said what it would send."""


def sent(method: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """The JSON body that huggingface_hub's own client sends for this call."""
    client = InferenceClient("http://127.0.0.1:1/x", token="none")
    with patch.object(InferenceClient, "_inner_post", side_effect=_SentError) as post, pytest.raises(_SentError):
        getattr(client, method)(*args, **kwargs)
    request = post.call_args.args[0]
    body = json.loads(request.data) if request.json is None else json.loads(json.dumps(request.json))
    assert isinstance(body, dict)
    return body


IMAGE = Media(PNG, "image", "inputs.image")


def test_the_clients_visual_question_comes_from_the_root() -> None:
    root = sent("visual_question_answering", PNG, "what?", top_k=2)
    assert "question" in root  # else this test proves nothing
    assert over_http("visual-question-answering", root) == Call(
        [{"image": IMAGE, "question": "what?"}], False, {"top_k": 2}
    )


def test_the_clients_document_question_brings_its_words_in_the_parameters() -> None:
    boxes = [["total", [0, 0, 10, 10]]]
    root = sent("document_question_answering", PNG, "how much?", word_boxes=boxes, top_k=1)
    assert "word_boxes" in root["parameters"]
    found = over_http("document-question-answering", root)
    assert found == Call([{"image": IMAGE, "question": "how much?", "word_boxes": boxes}], False, {"top_k": 1})


def test_labels_of_zero_shot_detection_may_stand_in_the_parameters() -> None:
    """As the inference specification of huggingface has them."""
    root = {"inputs": B64, "parameters": {"candidate_labels": ["a cat", "a dog"], "threshold": 0.1}}
    found = over_http("zero-shot-object-detection", root)
    assert found == Call([{"image": IMAGE, "candidate_labels": ["a cat", "a dog"]}], False, {"threshold": 0.1})


def test_labels_in_the_parameters_are_for_every_image() -> None:
    root = {"inputs": [B64, URL], "parameters": {"candidate_labels": "a cat, a dog"}}
    found = over_http("zero-shot-object-detection", root)
    assert [item["candidate_labels"] for item in found.items] == [["a cat", "a dog"]] * 2
    assert found.items[1]["image"] == RemoteMedia(URL, "image", "inputs[1].image")
    assert found.many


def test_the_clients_embedding_parameters_come_from_the_root() -> None:
    root = sent("feature_extraction", "a text", truncate=True)
    assert "parameters" not in root
    assert "truncate" in root
    assert over_http("feature-extraction", root) == Call(["a text"], False, {"truncate": True})


CLIENT_CALLS: list[tuple[str, str, tuple[Any, ...], dict[str, Any], list[Any], dict[str, Any]]] = [
    ("text-classification", "text_classification", ("a",), {"top_k": 3}, ["a"], {"top_k": 3}),
    ("token-classification", "token_classification", ("a",), {}, ["a"], {}),
    ("fill-mask", "fill_mask", ("a [MASK]",), {"targets": ["b"]}, ["a [MASK]"], {"targets": ["b"]}),
    ("summarization", "summarization", ("a",), {}, ["a"], {}),
    (
        "translation",
        "translation",
        ("a",),
        {"src_lang": "en", "tgt_lang": "de"},
        ["a"],
        {"src_lang": "en", "tgt_lang": "de"},
    ),
    (
        "question-answering",
        "question_answering",
        ("who?", "me"),
        {"top_k": 1},
        [{"question": "who?", "context": "me"}],
        {"top_k": 1},
    ),
    (
        "table-question-answering",
        "table_question_answering",
        ({"City": ["Oslo"]}, "which?"),
        {"model": "http://127.0.0.1:1/x", "sequential": True},
        [{"table": {"City": ["Oslo"]}, "query": "which?"}],
        {"sequential": True},
    ),
    (
        "zero-shot-classification",
        "zero_shot_classification",
        ("a", ["b", "c"]),
        {},
        ["a"],
        {"candidate_labels": ["b", "c"], "multi_label": False},
    ),
    (
        "zero-shot-image-classification",
        "zero_shot_image_classification",
        (PNG, ["b", "c"]),
        {},
        [Media(PNG, "image", "inputs")],
        {"candidate_labels": ["b", "c"]},
    ),
    (
        "image-classification",
        "image_classification",
        (PNG,),
        {"top_k": 2},
        [Media(PNG, "image", "inputs")],
        {"top_k": 2},
    ),
    ("object-detection", "object_detection", (PNG,), {"threshold": 0.5}, [Media(PNG, "image")], {"threshold": 0.5}),
    ("image-segmentation", "image_segmentation", (PNG,), {"threshold": 0.5}, [Media(PNG, "image")], {"threshold": 0.5}),
    ("audio-classification", "audio_classification", (PNG,), {"top_k": 2}, [Media(PNG, "audio")], {"top_k": 2}),
    ("text-to-audio", "text_to_speech", ("a",), {}, ["a"], {}),
    ("text-generation", "text_generation", ("a",), {"max_new_tokens": 3}, ["a"], {"max_new_tokens": 3}),
]


@pytest.mark.parametrize(("task", "method", "args", "kwargs", "items", "parameters"), CLIENT_CALLS)
def test_what_the_clients_method_sends_is_read(
    task: str, method: str, args: Any, kwargs: Any, items: list[Any], parameters: dict[str, Any]
) -> None:
    root = sent(method, *args, **kwargs)
    root.pop("stream", None)
    found = over_http(task, root)
    assert (found.items, found.many) == (items, False)
    assert {name: found.parameters[name] for name in parameters} == parameters
    assert "model" not in found.parameters


def test_several_questions_about_one_image_share_it() -> None:
    root = {"inputs": [{"question": "a?"}, {"question": "b?"}], "image": B64}
    found = over_http("visual-question-answering", root)
    assert [(item["question"], item["image"].data) for item in found.items] == [("a?", PNG), ("b?", PNG)]


def test_a_part_in_the_input_goes_before_one_found_elsewhere() -> None:
    root = {"inputs": {"image": B64, "question": "in?"}, "question": "out?"}
    assert over_http("visual-question-answering", root).items[0]["question"] == "in?"


def test_an_unknown_part_is_named() -> None:
    with pytest.raises(InvalidInputError, match="contxt") as caught:
        call("question-answering", {"inputs": {"question": "a", "context": "b", "contxt": "c"}})
    assert caught.value.field == "inputs.contxt"


@pytest.mark.parametrize("missing", ["question", "context"])
def test_a_missing_part_is_named(missing: str) -> None:
    whole = {"question": "a", "context": "b"}
    with pytest.raises(InvalidInputError, match=missing) as caught:
        call("question-answering", {"inputs": {name: part for name, part in whole.items() if name != missing}})
    assert caught.value.field == f"inputs.{missing}"


def test_options_and_model_are_no_parameters() -> None:
    root = {"inputs": "a", "options": {"wait_for_model": True}, "model": "x", "parameters": {"model": "y", "top_k": 1}}
    assert call("text-classification", root).parameters == {"top_k": 1}


# --- anything at all --------------------------------------------------------------------------------------------------

_NAMES = ["inputs", "parameters", "options", "question", "context", "text", "text_pair", "image", "images", "audio"]
_NAMES += ["videos", "table", "query", "role", "content", "type", "url", "candidate_labels", "word_boxes", "state"]
_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from([B64, URL, "http://[", "https://\x00", "data:;base64,", f"data:image/png;base64,{B64}"])
    | st.sampled_from(["user", "image", "image_url", "text", "video", "base64", "=", "====", "é"])
)
_KEYS = st.sampled_from(_NAMES) | st.text(max_size=4)
JSON = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4), max_leaves=12
)
ROOTS = st.fixed_dictionaries({}, optional=dict.fromkeys(_NAMES, JSON)) | st.dictionaries(_KEYS, JSON, max_size=4)


@pytest.mark.parametrize("task", ALL)
@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(root=ROOTS)
def test_any_json_is_read_or_refused_as_the_callers_fault(task: str, root: dict[str, Any]) -> None:
    try:
        found = over_http(task, root)
    except RequestError:
        return
    assert found.items
    assert found.many or len(found.items) == 1


_TYPED = st.dictionaries(
    st.sampled_from(["$type", "items", "dtype", "shape", "data", "mode", "array", "kind", "value", "torch"]),
    st.sampled_from(
        ["tuple", "ndarray", "image", "scalar", "media", "float32", "object", "RGB", B64, "", "dict", "nan"]
    )
    | JSON,
    max_size=5,
)


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(
    value=st.recursive(_TYPED, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_KEYS, inner, max_size=2))
)
@pytest.mark.parametrize("task", ["fake", "any-to-any", "image-classification", "table-question-answering"])
def test_any_typed_json_is_read_or_refused_as_the_callers_fault(task: str, value: Any) -> None:
    with suppress(RequestError):
        call(task, read_body(json.dumps({"inputs": value}).encode(), MEDIA_TYPE))


@settings(max_examples=200, deadline=None, database=None, derandomize=True)
@given(body=st.binary(max_size=60), content_type=st.sampled_from([*JSON_TYPES, MEDIA_TYPE, "text/xml"]))
def test_any_bytes_are_read_or_refused_as_the_callers_fault(body: bytes, content_type: str) -> None:
    with suppress(RequestError):
        assert isinstance(read_body(body, content_type), dict)


@pytest.mark.parametrize(
    ("task", "given", "want"),
    [
        ("summarization", {"generate_parameters": {"num_beams": 2}}, {"num_beams": 2}),
        ("summarization", {"generate_parameters": None, "truncation": True}, {"truncation": True}),
        (
            "automatic-speech-recognition",
            {"generation_parameters": {"num_beams": 2}, "generate_kwargs": {"language": "en"}},
            {"generate_kwargs": {"language": "en", "num_beams": 2}},
        ),
        ("text-classification", {"generate_parameters": {}}, {"generate_parameters": {}}),  # refused by name later
    ],
)
def test_generation_settings_under_the_client_s_names(task: str, given: Any, want: Any) -> None:
    root = {"inputs": "aGVsbG8=", "parameters": given}
    assert read_call(TASKS[task], root, 10).parameters == want


def test_generation_settings_must_be_an_object() -> None:
    root = {"inputs": "x", "parameters": {"generate_parameters": 5}}
    with pytest.raises(InvalidParameterError, match="generate_parameters"):
        read_call(TASKS["summarization"], root, 10)


@pytest.mark.parametrize("value", [np.zeros(3), np.zeros(1), [], {}, 1, 0.0, "true", b"a", ("a",)])
def test_a_flag_or_a_name_of_another_type_is_the_callers_fault(value: Any) -> None:
    with pytest.raises(InvalidParameterError, match="`stream` must be true or false"):
        wants_stream({"stream": value})
    if not isinstance(value, str):
        with pytest.raises(InvalidInputError, match="`model` must be a string"):
            read_model({"model": value})


def test_a_flag_and_a_name_are_read() -> None:
    assert [wants_stream({"stream": value}) for value in (True, False, None)] == [True, False, False]
    assert [read_model(root) for root in ({"model": "a"}, {"model": None}, {})] == ["a", None, None]
