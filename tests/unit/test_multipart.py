"""Forms as httpx and the email package of Python write them, and forms that nobody should write."""

import asyncio
import json
import logging
from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from deployments.codec import MEDIA_TYPE, to_json
from deployments.errors import (
    InvalidInputError,
    InvalidParameterError,
    MalformedRequestError,
    PayloadTooLargeError,
    RequestError,
    UnsupportedMediaError,
)
from deployments.payload import Media
from deployments.tasks import TASKS
from graph.body import read_root
from graph.config import LimitsConfig
from graph.decode import Call, read_call
from graph.multipart import MOST_PARTS
from tests.unit.test_raw_bodies import GIF, MP4, PCX, PNG, WAV, request

IMAGE, AUDIO, TEXT = "image-classification", "automatic-speech-recognition", "text-classification"
VQA = "visual-question-answering"
URL = "https://example.org/a.png"


def form(files: Any, data: Any = None) -> tuple[bytes, str]:
    """Body and content type as httpx writes them."""
    asked = httpx.Request("POST", "http://x", files=files, data=data)
    return asked.read(), asked.headers["content-type"]


def root_of(
    task: str, body: bytes, content_type: str, query: str = "", cut: int = 10**6, **limits: int
) -> dict[str, Any]:
    pieces = [body[start : start + cut] for start in range(0, len(body), cut)] or [b""]
    return asyncio.run(read_root(request(pieces, content_type, query), TASKS[task], LimitsConfig(**limits)))


def call(task: str, files: Any, data: Any = None, **more: Any) -> Call:
    return read_call(TASKS[task], root_of(task, *form(files, data), **more), 100)


@pytest.mark.parametrize("name", ["inputs", "file", "data", "image", "images"])
def test_an_image_under_any_sensible_name_is_the_input(name: str) -> None:
    assert call(IMAGE, {name: ("photo.png", PNG)}) == Call([Media(PNG, "image")], False, {})


@pytest.mark.parametrize(
    ("task", "name", "data"), [(AUDIO, "audio", WAV), (AUDIO, "file", MP4), ("video-classification", "video", MP4)]
)
def test_other_media_too(task: str, name: str, data: bytes) -> None:
    assert call(task, {name: ("x", data, "application/octet-stream")}).items[0].data == data


def test_fields_beside_the_file_are_parameters() -> None:
    asked = call(AUDIO, {"file": WAV}, {"return_timestamps": "word", "generate_kwargs": '{"max_new_tokens": 5}'})
    assert asked.parameters == {"return_timestamps": "word", "generate_kwargs": {"max_new_tokens": 5}}


@pytest.mark.parametrize("name", ["image", "inputs", "file"])
def test_a_file_and_a_question_are_one_input(name: str) -> None:
    asked = call(VQA, {name: ("a.png", PNG)}, {"question": "How many?", "top_k": "2"})
    assert asked.items == [{"image": Media(PNG, "image", "inputs.image"), "question": "How many?"}]
    assert asked.parameters == {"top_k": 2}


def test_fields_of_one_name_are_a_list() -> None:
    labels = {"candidate_labels": ["a cat", "a dog"]}
    assert call("zero-shot-image-classification", {"file": PNG}, labels).parameters == labels
    assert call("zero-shot-object-detection", {"file": PNG}, labels).items[0]["candidate_labels"] == ["a cat", "a dog"]


@pytest.mark.parametrize("name", ["inputs", "file", "image"])
def test_files_of_one_name_are_a_list_of_inputs(name: str) -> None:
    asked = call(IMAGE, [(name, ("a", PNG)), (name, ("b", GIF))])
    assert asked == Call([Media(PNG, "image", "inputs[0]"), Media(GIF, "image", "inputs[1]")], True, {})


def test_files_of_a_part_are_an_input_each() -> None:
    asked = call(VQA, [("image", PNG), ("image", GIF)], {"question": "How many?"})
    assert asked.many
    assert [item["image"].data for item in asked.items] == [PNG, GIF]
    assert [item["question"] for item in asked.items] == ["How many?"] * 2


def test_two_files_are_a_pair_where_the_task_takes_pairs() -> None:
    asked = call("keypoint-matching", [("image", PNG), ("image", GIF)])
    assert (asked.many, [part.data for part in asked.items[0]]) == (False, [PNG, GIF])


def test_files_of_a_chat_model_are_one_input() -> None:
    asked = call("image-text-to-text", [("image", PNG), ("images", GIF)][:1] * 2, {"text": "Compare."})
    assert asked.items[0]["text"] == "Compare."
    assert [part.data for part in asked.items[0]["images"]] == [PNG, PNG]
    asked = call("any-to-any", {"file": WAV}, {"text": "Listen."})
    assert asked.items[0]["audio"].data == WAV


def test_parameters_may_be_one_object() -> None:
    for written in ({"files": {"file": PNG}, "data": {"parameters": '{"top_k": 2}'}},):
        assert call(IMAGE, **written).parameters == {"top_k": 2}
    typed = json.dumps(to_json({"top_k": 2, "function_to_apply": ("a",)})).encode()
    files = {"file": PNG, "parameters": ("p.json", typed, MEDIA_TYPE)}
    assert call(IMAGE, files).parameters == {"top_k": 2, "function_to_apply": ("a",)}
    assert call(IMAGE, {"file": PNG, "parameters": ("p.json", b'{"top_k": 3}')}).parameters == {"top_k": 3}


def test_text_files_and_text_fields_are_text() -> None:
    assert call(TEXT, {"file": ("a.txt", "\ufeffh\u00e9".encode())}).items == ["h\u00e9"]
    assert call(TEXT, {"inputs": (None, "42")}).items == ["42"]
    context = call("question-answering", {"context": ("a.txt", b"At nine.")}, {"question": "When?"})
    assert context.items == [{"question": "When?", "context": "At nine."}]


def test_an_input_may_be_json_or_a_url() -> None:
    asked = call(VQA, {"inputs": (None, json.dumps({"image": "QUJD", "question": "What?"}))})
    assert asked.items == [{"image": Media(b"ABC", "image", "inputs.image"), "question": "What?"}]
    assert call(IMAGE, {"inputs": (None, URL)}).items[0].url == URL
    chat = [{"role": "user", "content": "Hello"}]
    assert call("text-generation", {"inputs": (None, json.dumps(chat))}) == Call([chat], False, {})


def test_a_file_field_of_a_browser_in_which_none_was_chosen_is_nothing() -> None:
    empty = b'--b\r\nContent-Disposition: form-data; name="file"; filename=""\r\n'
    empty += b"Content-Type: application/octet-stream\r\n\r\n\r\n"
    chosen = b'--b\r\nContent-Disposition: form-data; name="inputs"\r\n\r\n' + URL.encode() + b"\r\n--b--\r\n"
    assert root_of(IMAGE, empty + chosen, "multipart/form-data; boundary=b")["inputs"] == URL


def test_query_and_form_are_one_call() -> None:
    assert call(IMAGE, {"file": PNG}, {"top_k": "1"}, query="function_to_apply=none").parameters == {
        "top_k": 1,
        "function_to_apply": "none",
    }
    with pytest.raises(InvalidParameterError, match="twice"):
        call(IMAGE, {"file": PNG}, {"top_k": "1"}, query="top_k=2")


@pytest.mark.parametrize("cut", [1, 3, 64])
def test_where_the_body_is_cut_does_not_matter(cut: int) -> None:
    assert call(VQA, {"file": PNG}, {"question": "How many?"}, cut=cut) == call(
        VQA, {"file": PNG}, {"question": "How many?"}
    )


@pytest.mark.parametrize(
    ("task", "files", "kind", "says"),
    [
        (IMAGE, {"audio": PNG}, InvalidInputError, "`audio` is a file"),
        (IMAGE, {"top_k": ("k", b"2")}, InvalidInputError, "`top_k` is a file"),
        (IMAGE, {"file": WAV}, UnsupportedMediaError, "an audio file"),
        (IMAGE, {"file": ("a.txt", b"text")}, UnsupportedMediaError, "text/plain"),
        (AUDIO, {"audio": PNG}, UnsupportedMediaError, "an image"),
        (TEXT, {"file": PNG}, MalformedRequestError, "`file` is not UTF-8"),
        (VQA, {"file": PNG}, InvalidInputError, "question"),
        (IMAGE, {"parameters": ("p", b"[1]"), "file": PNG}, InvalidParameterError, "object"),
        (IMAGE, {"parameters": ("p", b'{"$type": "no"}', MEDIA_TYPE), "file": PNG}, MalformedRequestError, "no"),
        (IMAGE, [("file", PNG), ("inputs", PNG), ("image", ("p", PCX, "audio/x"))], UnsupportedMediaError, "audio/x"),
        (VQA, [("image", PNG), ("image", PNG), ("inputs", (None, "{}"))], MalformedRequestError, "twice"),
        (IMAGE, {"top_k": (None, "2")}, InvalidInputError, "`inputs` is missing"),
    ],
)
def test_a_wrong_form_is_refused_in_words(task: str, files: Any, kind: type[RequestError], says: str) -> None:
    with pytest.raises(kind) as caught:
        call(task, files)
    assert says in str(caught.value)


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9, 0.99])
def test_a_form_that_breaks_off_is_malformed(kept: float) -> None:
    body, content_type = form({"file": PNG}, {"top_k": "1"})
    with pytest.raises(MalformedRequestError):
        root_of(IMAGE, body[: int(len(body) * kept)], content_type)


@pytest.mark.parametrize(
    "content_type",
    ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=" + "x" * 5000],
)
def test_a_form_without_a_boundary_is_malformed(content_type: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), pytest.raises(MalformedRequestError):
        root_of(IMAGE, form({"file": PNG})[0], content_type)
    assert not caplog.records


def test_parts_are_counted() -> None:
    with pytest.raises(PayloadTooLargeError, match="files"):
        call(IMAGE, [("file", PNG)] * 11, max_list_items=10)
    with pytest.raises(PayloadTooLargeError, match="fields"):
        call(IMAGE, {"file": PNG}, {"top_k": ["1"] * (MOST_PARTS + 1)})


def test_a_large_file_goes_to_disk_and_comes_back_whole() -> None:
    large = PNG + bytes(20 * 2**20)
    body, content_type = form({"file": large})
    assert root_of(IMAGE, body, content_type, cut=65536)["inputs"].data == large


def test_headers_of_parts_are_bounded() -> None:
    for header in (b"x-a: " + b"a" * 10_000, b"\r\n".join(b"x-%d: a" % index for index in range(100))):
        body = b'--b\r\n%b\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--b--\r\n' % header
        with pytest.raises(MalformedRequestError):
            root_of(IMAGE, body, "multipart/form-data; boundary=b")


PARTS = st.lists(
    st.tuples(
        st.sampled_from(["inputs", "file", "image", "question", "parameters", "top_k", "model", "", "\u00e9"]),
        st.sampled_from([None, "", "a.png"]),
        st.sampled_from(["", "image/png", "text/plain", MEDIA_TYPE]),
        st.binary(max_size=12) | st.sampled_from([PNG, WAV, b"{}", b'{"a":1}', b"[[1]]"]),
    ),
    max_size=4,
)


@given(st.sampled_from(sorted(TASKS)), PARTS, st.integers(0, 400))
@example(VQA, [("question", None, "", b"What?"), ("file", "a", "", PNG)], 400)
def test_any_form_is_a_call_or_the_callers_fault(task: str, parts: list[Any], kept: int) -> None:
    body = b""
    for name, filename, content_type, data in parts:
        file = b"" if filename is None else f'; filename="{filename}"'.encode()
        kind = f"\r\nContent-Type: {content_type}".encode() if content_type else b""
        disposition = b'--b\r\nContent-Disposition: form-data; name="' + name.encode() + b'"'
        body += disposition + file + kind + b"\r\n\r\n" + data + b"\r\n"
    try:
        read_call(TASKS[task], root_of(task, (body + b"--b--\r\n")[:kept], "multipart/form-data; boundary=b"), 100)
    except RequestError:
        return
