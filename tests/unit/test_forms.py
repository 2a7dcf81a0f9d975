"""Each form reads what its pipeline takes, and refuses the rest by naming it."""

import base64
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deployments.errors import InvalidInputError
from deployments.payload import Media
from deployments.tasks import TASKS
from deployments.tasks.compound import Chat, Fields, ListOf, Pair
from deployments.tasks.forms import Any_, Form, Json, Labels, LocalMedia, MediaOf, RemoteMedia, Table, Text, Words

IMAGE = MediaOf("image")
BYTES = b"\x89PNG any bytes at all, decoded on the replica only"
B64 = base64.b64encode(BYTES).decode()
URL = "https://example.org/a.png"
WRAPPED = "\n".join(B64[start : start + 20] for start in range(0, len(B64), 20)) + "\r\n"


@pytest.mark.parametrize(
    ("form", "value", "expected"),
    [
        (Text(), "a", "a"),
        (Text(), " a ", " a "),
        (Text(empty_ok=True), "", ""),
        (Words(), "a b", "a b"),
        (Words(), ["a", "b"], ["a", "b"]),
        (Words(), "", ""),
        (Labels(), ["a", "b"], ["a", "b"]),
        (Labels(), "a, b,,c ", ["a", "b", "c"]),
        (Table(), {"n": [1, "x"], "m": [None, 2.5]}, {"n": ["1", "x"], "m": ["None", "2.5"]}),
        (Table(), [{"n": "1"}, {"n": "2"}], {"n": ["1", "2"]}),
        (Table(), [{"n": "1", "m": "x"}, {"n": "2"}], {"n": ["1", "2"], "m": ["x", ""]}),
        (Table(), [{"n": "1"}, {"n": "2", "m": "x"}], {"n": ["1", "2"], "m": ["", "x"]}),
        (Json(), {"state": 1}, {"state": 1}),
        (Json(), "text", "text"),
        (ListOf(Text()), "a", "a"),
        (ListOf(Text()), ["a", "b"], ["a", "b"]),
        (Any_(), None, None),
        (Fields({"a": Text()}, {"b": Text()}), {"a": "x"}, {"a": "x"}),
        (Fields({"a": Text()}, {"b": Text()}), {"a": "x", "b": None}, {"a": "x"}),
        (Fields({"a": Text()}, bare="a"), "x", {"a": "x"}),
    ],
)
def test_good_value_becomes_the_pipelines_call_form(form: Form, value: Any, expected: Any) -> None:
    assert form.read(value, "inputs") == expected


@pytest.mark.parametrize(
    ("form", "value", "field"),
    [
        (Text(), "", "inputs"),
        (Text(), " \n\t", "inputs"),
        *((Text(), value, "inputs") for value in (None, 1, True, [], ["a"], {})),
        (Text(empty_ok=True), None, "inputs"),
        (Words(), [], "inputs"),
        (Words(), ["a", 1], "inputs"),
        (Words(), {"a": 1}, "inputs"),
        *((Labels(), value, "inputs") for value in ("", " ", [], ["a", ""], ["a", 1], [" "], 1, {"a": 1}, None)),
        *((Labels(), value, "inputs") for value in (",", " , ,")),
        *((Table(), value, "inputs") for value in ("x", [], {}, [1], {"a": 1}, {"a": []}, {"a": [1], "b": [1, 2]})),
        (Table(), [{}], "inputs"),
        *((Json(), value, "inputs") for value in (None, "", {}, [], 1)),
        (ListOf(Text()), ["a", 2], "inputs[1]"),
        (Fields({"a": Text()}), "x", "inputs"),
        (Fields({"a": Text()}), {}, "inputs.a"),
        (Fields({"a": Text()}), {"a": None}, "inputs.a"),
        (Fields({"a": Text()}), {"a": 1}, "inputs.a"),
        (Fields({"a": Text()}), {"a": "x", "z": 1}, "inputs.z"),
        (Pair(IMAGE), [URL], "inputs"),
        (Pair(IMAGE), [URL, URL, URL], "inputs"),
        (Pair(IMAGE), "x", "inputs"),
        (Pair(IMAGE), [URL, 1], "inputs[1]"),
        (Chat(Text()), [{"role": "user"}], "inputs[0]"),
        (Chat(Text()), [{"role": 1, "content": "x"}], "inputs[0]"),
        (Chat(Text()), [{"role": "user", "content": "x"}, "y"], "inputs[1]"),
        (Chat(Text()), [{"role": "user", "content": 1}], "inputs[0].content"),
        (Chat(Text()), [{"role": "user", "content": [{"type": "text", "text": "x"}]}], "inputs[0].content"),
        (Chat(Text(), media=True), [{"role": "user", "content": [1]}], "inputs[0].content[0]"),
        (Chat(Text(), media=True), [{"role": "user", "content": [{"type": "smell"}]}], "inputs[0].content[0].type"),
        (Chat(Text(), media=True), [{"role": "user", "content": [{"type": "image"}]}], "inputs[0].content[0]"),
        (
            Chat(Text(), media=True),
            [{"role": "user", "content": [{"type": "image", "image": "./cat.png"}]}],
            "inputs[0].content[0].image",
        ),
    ],
)
def test_wrong_value_is_refused_at_its_path(form: Form, value: Any, field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        form.read(value, "inputs")
    assert caught.value.field == field
    assert f"`{field}`" in caught.value.message


@pytest.mark.parametrize(
    "value",
    [
        B64,
        WRAPPED,
        f"data:image/png;base64,{B64}",
        f"data:;base64,{B64}",
        f"data:image/png;charset=utf-8;base64,{B64}",
        f"DATA:IMAGE/PNG;BASE64,{B64}",
        f"data:image/png;base64,{WRAPPED}",
        BYTES,
    ],
    ids=["base64", "wrapped", "data-uri", "no-type", "charset", "upper-case", "wrapped-data-uri", "bytes"],
)
@pytest.mark.parametrize("kind", ["image", "audio", "video"])
def test_encoded_file_becomes_media_of_the_tasks_kind(value: Any, kind: Any) -> None:
    assert MediaOf(kind).read(value, "inputs[3]") == Media(BYTES, kind, "inputs[3]")


@pytest.mark.parametrize("url", ["http://example.org/a.png", URL])
def test_url_becomes_a_file_to_fetch(url: str) -> None:
    assert IMAGE.read(url, "inputs") == RemoteMedia(url, "image", "inputs")


@pytest.mark.parametrize(
    "value",
    [
        "../../etc/passwd",
        "photo.jpg",
        "~/photo.jpg",
        "C:\\photo.jpg",
        "ftp://example.org/a.png",
        "data:text/plain,hello",
        "data:image/png;base64,",
        "",
        "   ",
        "not base64!",
        "abcde",
        None,
        1,
        True,
        ["x"],
        {"url": URL},
    ],
)
@pytest.mark.parametrize("kind", ["image", "audio", "video"])
def test_relative_path_or_nonsense_is_no_media(value: Any, kind: Any) -> None:
    with pytest.raises(InvalidInputError, match="base64, a data: URI or an http"):
        MediaOf(kind).read(value, "inputs")


@pytest.mark.parametrize("path", ["/etc/passwd", "file:///etc/passwd", "FILE:/etc/passwd", "/data/a photo.jpg"])
def test_absolute_path_is_left_to_whoever_may_read_it(path: str) -> None:
    assert IMAGE.read(path, "inputs") == LocalMedia(path, "image", "inputs")


def test_base64_goes_before_a_path() -> None:
    """That of a JPEG begins with a slash."""
    assert IMAGE.read("/9j/4AAQ", "inputs") == Media(b"\xff\xd8\xff\xe0\x00\x10", "image", "inputs")


def test_file_of_the_server_is_never_read(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where a path happens to be base64, as ``abcd`` is."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "abcd").write_bytes(b"secret")
    assert IMAGE.read("abcd", "inputs").data == base64.b64decode("abcd")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("image", Image.new("RGB", (1, 1))),
        ("audio", np.zeros(4, np.float32)),
        ("audio", {"raw": np.zeros(4), "sampling_rate": 8000}),
        ("audio", {"array": np.zeros(4), "sampling_rate": 8000}),
        ("video", np.zeros((2, 4, 4, 3), np.uint8)),
        ("image", Media(BYTES, "image")),
        ("image", RemoteMedia(URL, "image", "inputs")),
    ],
)
def test_decoded_value_passes_as_it_is(kind: Any, value: Any) -> None:
    assert MediaOf(kind).read(value, "inputs") is value


@pytest.mark.parametrize("kind", ["audio", "video"])
def test_media_of_another_kind_is_refused(kind: Any) -> None:
    with pytest.raises(InvalidInputError):
        IMAGE.read(Media(BYTES, kind), "inputs")


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image", "image": B64},
        {"type": "image", "url": f"data:image/png;base64,{B64}"},
        {"type": "image", "base64": B64},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{B64}"}},
        {"type": "image_url", "image_url": f"data:image/png;base64,{B64}"},
    ],
)
def test_image_parts_of_a_chat_have_many_spellings(part: dict[str, Any]) -> None:
    message = {"role": "user", "content": [{"type": "text", "text": "What?"}, part]}
    (read,) = Chat(Text(), media=True).read([message], "inputs")
    media = Media(BYTES, "image", "inputs[0].content[1].image")
    assert read == {"role": "user", "content": [{"type": "text", "text": "What?"}, {"type": "image", "image": media}]}


@pytest.mark.parametrize("kind", ["image", "audio", "video"])
def test_media_parts_of_a_chat_may_be_urls(kind: str) -> None:
    message = {"role": "user", "content": [{"type": kind, kind: URL}]}
    (read,) = Chat(Text(), media=True).read([message], "inputs")
    assert read["content"] == [{"type": kind, kind: RemoteMedia(URL, kind, f"inputs[0].content[0].{kind}")}]


def test_other_keys_of_a_message_stay() -> None:
    message = {"role": "tool", "content": "4", "tool_call_id": "x"}
    assert Chat(Text()).read([message], "inputs") == [message]


@pytest.mark.parametrize(
    ("task", "one"),
    [
        ("text-classification", "a"),
        ("text-classification", {"text": "a", "text_pair": "b"}),
        ("text-generation", [{"role": "user", "content": "a"}]),
        ("image-text-to-text", [{"role": "user", "content": "a"}]),
        ("keypoint-matching", [URL, URL]),
        ("visual-question-answering", {"image": URL, "question": "a"}),
        ("zero-shot-audio-classification", URL),
    ],
)
def test_one_input_and_a_list_of_it_are_told_apart(task: str, one: Any) -> None:
    form = TASKS[task].inputs
    assert form.is_one(one)
    assert not form.is_one([one])


def test_pair_is_read_part_by_part() -> None:
    expected = [Media(BYTES, "image", "inputs[0]"), RemoteMedia(URL, "image", "inputs[1]")]
    assert Pair(IMAGE).read((B64, URL), "inputs") == expected


@pytest.mark.parametrize("as_text", [False, True])
def test_images_of_questions_are_never_opened_by_the_pipeline(as_text: bool) -> None:
    asked = {
        "state": "a",
        "questions": {"b": {"type": "noul"}},
        "assets": {"one": {"type": "image", "format": "png", "data_base64": B64}, "two": URL, "three": "/etc/passwd"},
    }
    read = TASKS["decision"].inputs.read(json.dumps(asked) if as_text else asked, "inputs")
    assert {name: value for name, value in read.items() if name != "assets"} == {
        name: value for name, value in asked.items() if name != "assets"
    }
    assert read["assets"] == {
        "one": Media(BYTES, "image", "inputs.assets.one.data_base64"),
        "two": RemoteMedia(URL, "image", "inputs.assets.two"),
        "three": LocalMedia("/etc/passwd", "image", "inputs.assets.three"),  # which is refused but for an allow-list
    }
    for bad in ({"one": 3}, {"one": {"data_base64": None}}, {"one": {}}, ["a"]):
        with pytest.raises(InvalidInputError, match="assets"):
            TASKS["decision"].inputs.read({**asked, "assets": bad}, "inputs")


@pytest.mark.parametrize(
    "text",
    [
        json.dumps([{"state": "s", "questions": {}, "assets": {"IMG": "/etc/passwd"}}]),
        json.dumps(json.dumps({"state": "s", "questions": {}, "assets": {"IMG": "/etc/passwd"}})),
        "not JSON",
        "3",
        "null",
        "{",
        "[" * 100_000,
    ],
)
def test_the_json_of_a_decision_is_an_object_or_refused(text: str) -> None:
    """Upstream takes a list, and JSON in JSON, and would open what their assets name."""
    with pytest.raises(InvalidInputError, match='must be an object with "state" and "questions", or the JSON of one'):
        TASKS["decision"].inputs.read(text, "inputs")


BOX = [0, 1000, 0, 1000]


@pytest.mark.parametrize(
    "value",
    [
        [["a", BOX], ("b", (1, 2, 3, 4))],
        (("a", np.array([1, 2, 3, 4])), ["", [np.int64(0), 0, 0, 0]]),
        [],
    ],
)
def test_boxes_of_words_pass_as_they_are(value: Any) -> None:
    form = TASKS["document-question-answering"].inputs
    asked = {"image": IMAGE.read(B64, "x"), "question": "?", "word_boxes": value}
    assert form.read(asked, "inputs")["word_boxes"] is value


@pytest.mark.parametrize(
    "pair",
    [
        ["a", [0, 0, 0, 5000]],
        ["a", [0, 0, 0, -1]],
        ["a", [9, 0, 8, 0]],  # a model subtracts them, and looks up the width
        ["a", [0, 9, 0, 8]],
        ["a", [0, 0, 0, None]],
        ["a", [0, 0, 0, 0.5]],
        ["a", [0, 0, 0, True]],
        ["a", [0, 0, 0]],
        ["a", np.zeros((4, 4), int)],
        ["a", None],
        [None, BOX],
        ["a"],
        "ab",
        None,
    ],
)
def test_a_box_that_no_table_has_is_refused(pair: Any) -> None:
    form = TASKS["document-question-answering"].inputs
    asked = {"image": IMAGE.read(B64, "x"), "question": "?", "word_boxes": [["a", BOX], pair]}
    with pytest.raises(InvalidInputError, match=r"word_boxes\[1\]` must be a list of \[word, \[left, top") as caught:
        form.read(asked, "inputs")
    assert caught.value.field == "inputs.word_boxes[1]"
