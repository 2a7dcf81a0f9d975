"""Requests as Starlette gets them → calls: raw files, text, forms and queries."""

import asyncio
import base64
import io
import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from starlette.requests import Request

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


def request(
    body: bytes | Iterable[bytes] = b"", content_type: str | None = None, query: str = "", **headers: str
) -> Request:
    """A request whose body comes in pieces, with no ``content-length`` unless given."""
    pieces = list([body] if isinstance(body, bytes) else body)

    async def receive() -> dict[str, Any]:
        piece = pieces.pop(0) if pieces else b""
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    named = {**headers, **({} if content_type is None else {"content-type": content_type})}
    raw = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in named.items()]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": raw, "query_string": query.encode()}
    return Request(scope, receive)


def root_of(task: str, asked: Request, limits: LimitsConfig | None = None) -> dict[str, Any]:
    return asyncio.run(read_root(asked, TASKS[task], limits or LimitsConfig()))


def call(task: str, *given: Any, **named: Any) -> Call:
    return read_call(TASKS[task], root_of(task, request(*given, **named)), 100)


def picture(file_format: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2)).save(buffer, file_format)
    return buffer.getvalue()


PNG, GIF, PCX = picture("PNG"), picture("GIF"), picture("PCX")
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00"
OGG = b"OggS\x00\x02" + bytes(20)
MP4 = b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00"
IMAGE, AUDIO, VIDEO = "image-classification", "automatic-speech-recognition", "video-classification"
TEXT, ANSWER, VQA = "text-classification", "question-answering", "visual-question-answering"
CURL = "application/x-www-form-urlencoded"  # whatever curl --data-binary sends
SILENT = [None, "", "application/octet-stream", "Application/Octet-Stream; x=y", CURL]


# --- files ---


@pytest.mark.parametrize("content_type", [*SILENT, "image/png", "image/jpeg", "application/json", "text/plain"])
def test_an_image_is_known_by_its_bytes_whatever_the_header_says(content_type: str | None) -> None:
    assert call(IMAGE, PNG, content_type) == Call([Media(PNG, "image")], False, {})


@pytest.mark.parametrize("content_type", SILENT)
@pytest.mark.parametrize(
    ("task", "body", "kind"),
    [
        (AUDIO, WAV, "audio"),
        (AUDIO, OGG, "audio"),
        (AUDIO, MP4, "audio"),
        (VIDEO, MP4, "video"),
        (VIDEO, OGG, "video"),
        (VIDEO, GIF, "video"),
        (IMAGE, GIF, "image"),
        ("zero-shot-audio-classification", MP4, "audio"),
    ],
)
def test_a_container_is_what_the_task_wants(task: str, body: bytes, kind: Any, content_type: str | None) -> None:
    assert call(task, body, content_type).items == [Media(body, kind)]


@pytest.mark.parametrize("content_type", [*SILENT, "image/x-pcx"])
def test_a_file_that_no_magic_number_tells_is_left_to_the_decoder(content_type: str | None) -> None:
    assert call(IMAGE, PCX, content_type).items == [Media(PCX, "image")]


@pytest.mark.parametrize(
    ("task", "body", "content_type", "says"),
    [
        (IMAGE, WAV, None, "is an audio file; image-classification takes an image or JSON"),
        (IMAGE, WAV, "image/png", "an audio file"),
        (AUDIO, PNG, None, "is an image"),
        (AUDIO, PCX, "image/x-pcx", "'image/x-pcx'"),
        (TEXT, PNG, None, "text-classification takes JSON or text"),
        (TEXT, PCX, None, "neither JSON nor UTF-8 text"),
        (IMAGE, b"%PDF-1.7\x00", "application/pdf", "'application/pdf'"),
        (IMAGE, b"<a/>", "text/xml", "'text/xml'"),
        (TEXT, b"<a/>", "text/xml", "'text/xml'"),
        (TEXT, b"words", "text/plain; charset=zlib", "'zlib'"),
        (TEXT, b"words", "text/plain; charset=unicode_escape", "'unicode_escape'"),
    ],
)
def test_what_the_task_does_not_take_is_refused_by_name(
    task: str, body: bytes, content_type: str | None, says: str
) -> None:
    with pytest.raises(UnsupportedMediaError) as caught:
        call(task, body, content_type)
    assert says in str(caught.value)


def test_a_part_beside_the_file_comes_with_the_query() -> None:
    asked = call(VQA, PNG, None, "question=How%20many%3F&top_k=2")
    assert asked.items == [{"image": Media(PNG, "image", "inputs.image"), "question": "How many?"}]
    assert asked.parameters == {"top_k": 2}
    with pytest.raises(InvalidInputError, match=r"inputs\.question"):
        call(VQA, PNG)


def test_a_file_for_a_task_of_many_kinds_is_the_part_of_its_kind() -> None:
    for body, part, kind in ((PNG, "images", "image"), (WAV, "audio", "audio"), (OGG, "audio", "audio")):
        item = call("any-to-any", body, None, "text=What%20is%20it%3F").items[0]
        assert item == {part: Media(body, kind, f"inputs.{part}"), "text": "What is it?"}
    assert "videos" in call("any-to-any", MP4).items[0]
    assert "audio" in call("any-to-any", MP4, "audio/mp4").items[0]


def test_one_file_is_no_pair() -> None:
    with pytest.raises(InvalidInputError, match="two images"):
        call("keypoint-matching", PNG)


def test_a_body_that_came_in_one_piece_is_not_copied() -> None:
    assert root_of(IMAGE, request(PNG))["inputs"].data is PNG


@pytest.mark.parametrize("cut", [1, 7, 50])
def test_a_body_in_pieces_is_one(cut: int) -> None:
    pieces = [PNG[start : start + cut] for start in range(0, len(PNG), cut)]
    assert call(IMAGE, [b"", *pieces, b""]).items == [Media(PNG, "image")]


# --- text ---


@pytest.mark.parametrize("content_type", [*SILENT, "text/plain", "text/plain;charset=UTF-8"])
@pytest.mark.parametrize("text", ["I like it.", "a=b&c=d e", "BMW makes cars.", "h\u00e9 \U0001f600", "42"])
def test_text_is_the_input_of_a_text_task(text: str, content_type: str | None) -> None:
    assert call(TEXT, text.encode(), content_type) == Call([text], False, {})


@pytest.mark.parametrize("text", ["[CLS] is a token", "{braces} are text", '{"a": 1}', "[1, 2]", '"x"'])
def test_what_is_called_plain_text_is_text(text: str) -> None:
    assert call(TEXT, text.encode(), "text/plain").items == [text]


def test_what_a_browser_sends_for_a_string_of_json_is_json() -> None:
    assert call(TEXT, b' {"inputs": "a", "parameters": {"top_k": 1}}', "text/plain;charset=UTF-8").parameters == {
        "top_k": 1
    }


@pytest.mark.parametrize(
    ("charset", "encoding"), [("ISO-8859-1", "latin-1"), ('"windows-1252"', "cp1252"), ("utf-16", "utf-16")]
)
def test_text_is_read_in_the_charset_it_names(charset: str, encoding: str) -> None:
    assert call(TEXT, "d\u00e9j\u00e0 vu".encode(encoding), f"text/plain; charset={charset}").items == [
        "d\u00e9j\u00e0 vu"
    ]


def test_text_that_is_not_in_its_charset_is_malformed() -> None:
    with pytest.raises(MalformedRequestError, match="utf-8"):
        call(TEXT, b"\xe9t\xe9", "text/plain")


def test_text_for_the_part_that_is_absent() -> None:
    asked = call(ANSWER, b"The library opens at nine.", CURL, "question=When%3F")
    assert asked.items == [{"context": "The library opens at nine.", "question": "When?"}]
    assert call(TEXT, b"one", None, "text_pair=two").items == [{"text": "one", "text_pair": "two"}]


@pytest.mark.parametrize("said", ["https://example.org/a.png", base64.b64encode(PNG).decode()])
def test_text_for_a_media_task_is_where_the_file_is_or_the_file_in_base64(said: str) -> None:
    assert call(IMAGE, f"{said}\n".encode(), CURL).items == call(IMAGE, json.dumps({"inputs": said}).encode()).items


def test_a_form_without_files_is_read_by_its_fields() -> None:
    body = urlencode({"inputs": "one & two", "top_k": "2", "function_to_apply": "none"}).encode()
    assert call(TEXT, body, CURL) == Call(["one & two"], False, {"top_k": 2, "function_to_apply": "none"})
    body = urlencode({"question": "When?", "context": "At nine."}).encode()
    assert call(ANSWER, body, CURL).items == [{"question": "When?", "context": "At nine."}]


def test_no_body_at_all_is_a_call_by_query() -> None:
    assert call(TEXT, b"", None, "inputs=hello&top_k=1") == Call(["hello"], False, {"top_k": 1})
    with pytest.raises(InvalidInputError, match="inputs"):
        call(TEXT, b"")
    with pytest.raises(MalformedRequestError):
        call(TEXT, b"", "application/json")


# --- JSON ---


@pytest.mark.parametrize("content_type", [*SILENT, "application/json", "text/json", "application/jsonx"])
def test_json_is_known_by_its_bytes(content_type: str | None) -> None:
    assert call(IMAGE, b'\n {"inputs": "QUJD"}', content_type).items == [Media(b"ABC", "image")]


def test_typed_json_keeps_its_types() -> None:
    body = json.dumps({"inputs": to_json((1, b"\x00"))}).encode()
    assert root_of("fake", request(body, MEDIA_TYPE)) == {"inputs": (1, b"\x00")}


@pytest.mark.parametrize("body", [b"{", b"[CLS] is a token", b'{"inputs": }', b"[1]"])
def test_what_begins_like_json_must_be_a_json_object(body: bytes) -> None:
    with pytest.raises(MalformedRequestError):
        call(TEXT, body)


# --- the query ---


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2", 2),
        ("0.5", 0.5),
        ("true", True),
        ("null", None),
        ("word", "word"),
        ('"2"', "2"),
        ("a,b", "a,b"),
        ('["a", "b"]', ["a", "b"]),
        ('{"max_new_tokens":5}', {"max_new_tokens": 5}),
        ("NaN", "NaN"),
        ("{half", "{half"),
        ("", ""),
        ("1" * 5000, "1" * 5000),
    ],
)
def test_a_value_is_json_where_it_is_json(written: str, read: Any) -> None:
    assert call(AUDIO, WAV, None, f"return_timestamps={quote(written)}").parameters == {"return_timestamps": read}


@pytest.mark.parametrize(
    ("written", "read"), [("a,b", "a,b"), ("2", "2"), ("true", "true"), ('["a","b"]', ["a", "b"]), ("2,3", "2,3")]
)
def test_labels_are_strings(written: str, read: Any) -> None:
    query = f"candidate_labels={quote(written)}"
    assert call("zero-shot-classification", b"text", None, query).parameters == {"candidate_labels": read}


@pytest.mark.parametrize("question", ["42", "true", '{"a": 1}', "[1]"])
def test_a_part_that_is_text_stays_text(question: str) -> None:
    assert call(VQA, PNG, None, f"question={quote(question)}").items[0]["question"] == question


def test_a_name_given_again_makes_a_list() -> None:
    query = "candidate_labels=a&candidate_labels=b"
    assert call("zero-shot-classification", b"text", None, query).parameters == {"candidate_labels": ["a", "b"]}
    assert call(TEXT, b"", None, "inputs=a&inputs=b") == Call(["a", "b"], True, {})


def test_query_and_json_body_are_one_call() -> None:
    body = b'{"inputs": "a", "parameters": {"top_k": 1}}'
    query = "function_to_apply=none&model=me"
    assert call(TEXT, body, None, query).parameters == {"top_k": 1, "function_to_apply": "none"}
    assert call(TEXT, b'{"inputs": "a", "parameters": null}', None, "top_k=1").parameters == {"top_k": 1}
    more = quote('{"top_k": 3}')
    assert call(TEXT, b'{"inputs": "a"}', None, f"parameters={more}").parameters == {"top_k": 3}


@pytest.mark.parametrize(
    ("body", "query", "kind", "field"),
    [
        (b'{"inputs": "a", "parameters": {"top_k": 1}}', "top_k=2", InvalidParameterError, "parameters.top_k"),
        (b'{"inputs": "a", "top_k": 1}', "top_k=2", InvalidParameterError, "parameters.top_k"),
        (b'{"inputs": "a"}', "inputs=b", MalformedRequestError, "inputs"),
        (b"text", "inputs=b", MalformedRequestError, "inputs"),
        (b'{"inputs": "a", "parameters": [1]}', "top_k=2", InvalidParameterError, "parameters"),
        (b'{"inputs": "a"}', "parameters=1", InvalidParameterError, "parameters"),
        (b'{"inputs": "a"}', "parameters=1&top_k=1", InvalidParameterError, "parameters"),
        (b'{"inputs": "a"}', "parameters=%7B%22top_k%22:1%7D&top_k=1", InvalidParameterError, "parameters.top_k"),
    ],
)
def test_what_is_given_twice_is_refused(body: bytes, query: str, kind: type[RequestError], field: str) -> None:
    with pytest.raises(kind) as caught:
        call(TEXT, body, None, query)
    assert caught.value.field == field


# --- sizes ---

SMALL = LimitsConfig(max_body_bytes=1024)


@pytest.mark.parametrize("content_type", [None, "application/json", "multipart/form-data; boundary=x"])
def test_a_body_is_not_read_beyond_the_limit(content_type: str | None) -> None:
    taken = []

    def pieces() -> Iterable[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
        for _ in range(100):
            taken.append(100)
            yield b"x" * 100

    endless = pieces()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": next(iter(endless)), "more_body": True}

    asked = request(b"", content_type)
    asked = Request(asked.scope, receive)
    with pytest.raises(PayloadTooLargeError, match="1024"):
        root_of(IMAGE, asked, SMALL)
    assert sum(taken) <= 1100


@pytest.mark.parametrize("length", ["1025", "99999999999999999999", "-1", "x", "\u00b2"])
def test_a_body_announced_as_too_large_is_not_read(length: str) -> None:
    asked = Request(request(b"", None, content_length=length).scope)  # reading it would fail
    with pytest.raises(PayloadTooLargeError):
        root_of(IMAGE, asked, SMALL)


@pytest.mark.parametrize("encoding", ["gzip", "br", "gzip, gzip", "deflate"])
def test_a_compressed_body_is_refused(encoding: str) -> None:
    with pytest.raises(UnsupportedMediaError, match="Content-Encoding"):
        call(IMAGE, PNG, content_encoding=encoding)
    assert call(IMAGE, PNG, content_encoding="identity").items


# --- anything ---

TYPES = [*SILENT, "application/json", "text/plain", "image/png", "audio/*", "video/mp4", "text/html", "x", MEDIA_TYPE]


@given(
    st.sampled_from(sorted(TASKS)),
    st.binary(max_size=40)
    | st.text(max_size=20).map(str.encode)
    | st.sampled_from([PNG, WAV, MP4, b'{"inputs": [1]}']),
    st.sampled_from(TYPES),
    st.text('abtopk_=&%{}[]"1,;+\ufffd', max_size=20),
)
def test_any_request_is_a_call_or_the_callers_fault(
    task: str, body: bytes, content_type: str | None, query: str
) -> None:
    try:
        call(task, body, content_type, query)
    except RequestError:
        return
