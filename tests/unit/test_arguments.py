"""The call forms of transformers' pipelines, as the served twin takes them apart."""

import base64
import io
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from deployments.errors import InvalidInputError
from deployments.payload import Media
from deployments.tasks import TASKS
from graph import arguments
from graph.arguments import load_media, split_arguments


def split(task: str, *args: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
    return split_arguments(TASKS[task], args, kwargs)


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2)).save(buffer, "PNG")
    return buffer.getvalue()


PNG = png()
IMAGE, OTHER = Image.new("RGB", (3, 2)), Image.new("RGB", (2, 3))
CHAT = [{"role": "user", "content": "hello"}]
TABLE = {"City": ["Oslo"]}
BOXES = [["total", [0, 0, 1, 1]]]
ASKED = {"image": IMAGE, "question": "q"}
LABELS = {"candidate_labels": ["x"]}
QA = {"question": "q", "context": "c"}

FORMS: list[tuple[str, tuple[Any, ...], dict[str, Any], Any, dict[str, Any]]] = [
    ("text-classification", ("a",), {"top_k": 2}, "a", {"top_k": 2}),
    ("text-classification", (["a", "b"],), {}, ["a", "b"], {}),
    ("text-classification", ({"text": "a", "text_pair": "b"},), {}, {"text": "a", "text_pair": "b"}, {}),
    ("text-classification", (), {"inputs": "a"}, "a", {}),
    ("token-classification", (["a", "b"],), {"is_split_into_words": True}, ["a", "b"], {"is_split_into_words": True}),
    ("fill-mask", ("a [MASK]",), {"targets": ["b"]}, "a [MASK]", {"targets": ["b"]}),
    ("text-generation", (CHAT,), {"max_new_tokens": 2}, CHAT, {"max_new_tokens": 2}),
    ("text-generation", (), {"text_inputs": "a"}, "a", {}),
    ("text-generation", ("a",), {"batch_size": 8, "num_workers": 2}, "a", {}),
    # question answering: keywords, lists, objects, positions
    ("question-answering", (), QA, QA, {}),
    ("question-answering", (), {**QA, "top_k": 2}, QA, {"top_k": 2}),
    ("question-answering", (QA,), {}, QA, {}),
    ("question-answering", ([QA, QA],), {}, [QA, QA], {}),
    ("question-answering", ("q", "c"), {}, QA, {}),
    ("question-answering", (), {"question": ["q"], "context": ["c"]}, [QA], {}),
    (
        "question-answering",
        (),
        {"question": ["q", "r"], "context": ["c", "d"]},
        [QA, {"question": "r", "context": "d"}],
        {},
    ),
    ("question-answering", (), {"question": ["q", "r"], "context": "c"}, [QA, {"question": "r", "context": "c"}], {}),
    # images with questions
    ("visual-question-answering", (IMAGE, "q"), {}, {"image": IMAGE, "question": "q"}, {}),
    (
        "visual-question-answering",
        (IMAGE,),
        {"question": "q", "top_k": 1},
        {"image": IMAGE, "question": "q"},
        {"top_k": 1},
    ),
    ("visual-question-answering", (), {"image": IMAGE, "question": "q"}, {"image": IMAGE, "question": "q"}, {}),
    ("visual-question-answering", ({"image": IMAGE, "question": "q"},), {}, {"image": IMAGE, "question": "q"}, {}),
    (
        "visual-question-answering",
        ([IMAGE, OTHER],),
        {"question": "q"},
        [{"image": IMAGE, "question": "q"}, {"image": OTHER, "question": "q"}],
        {},
    ),
    (
        "document-question-answering",
        (),
        {"image": IMAGE, "question": "q", "word_boxes": BOXES, "lang": "en"},
        {"image": IMAGE, "question": "q", "word_boxes": BOXES},
        {"lang": "en"},
    ),
    (
        "document-question-answering",
        (IMAGE, "q", BOXES),
        {},
        {"image": IMAGE, "question": "q", "word_boxes": BOXES},
        {},
    ),
    # labels
    ("zero-shot-classification", ("a", ["x", "y"]), {}, "a", {"candidate_labels": ["x", "y"]}),
    ("zero-shot-classification", ("a",), {"candidate_labels": "x, y"}, "a", {"candidate_labels": "x, y"}),
    ("zero-shot-classification", (), {"sequences": ["a"], "candidate_labels": "x"}, ["a"], {"candidate_labels": "x"}),
    ("zero-shot-image-classification", (IMAGE,), {"candidate_labels": ["x"]}, IMAGE, {"candidate_labels": ["x"]}),
    (
        "zero-shot-image-classification",
        (),
        {"image": IMAGE, "candidate_labels": ["x"]},
        IMAGE,
        {"candidate_labels": ["x"]},
    ),
    ("zero-shot-audio-classification", ("a.wav",), {"candidate_labels": ["x"]}, "a.wav", {"candidate_labels": ["x"]}),
    (
        "zero-shot-object-detection",
        (IMAGE,),
        {"candidate_labels": ["x", "y"], "threshold": 0.1},
        {"image": IMAGE, "candidate_labels": ["x", "y"]},
        {"threshold": 0.1},
    ),
    ("zero-shot-object-detection", (IMAGE, ["x"]), {}, {"image": IMAGE, "candidate_labels": ["x"]}, {}),
    # files
    ("image-classification", (), {"images": [IMAGE]}, [IMAGE], {}),
    ("image-classification", ("a.png",), {}, "a.png", {}),
    ("keypoint-matching", ([IMAGE, OTHER],), {}, [IMAGE, OTHER], {}),
    ("video-classification", (), {"videos": "a.mp4"}, "a.mp4", {}),
    # images, text and chats
    ("image-text-to-text", (IMAGE,), {"text": "a"}, {"images": IMAGE, "text": "a"}, {}),
    ("image-text-to-text", (), {"images": [IMAGE, OTHER], "text": "a"}, {"images": [IMAGE, OTHER], "text": "a"}, {}),
    ("image-text-to-text", (), {"text": CHAT, "max_new_tokens": 2}, CHAT, {"max_new_tokens": 2}),
    ("image-text-to-text", (CHAT,), {}, CHAT, {}),
    ("any-to-any", (), {"text": CHAT}, CHAT, {}),
    ("any-to-any", (CHAT,), {"generation_mode": "text"}, CHAT, {"generation_mode": "text"}),
    ("any-to-any", (), {"text": "a", "images": IMAGE}, {"text": "a", "images": IMAGE}, {}),
    # tables
    ("table-question-answering", (), {"table": TABLE, "query": "q"}, {"table": TABLE, "query": "q"}, {}),
    ("table-question-answering", (), {"table": TABLE, "query": ["q", "r"]}, {"table": TABLE, "query": ["q", "r"]}, {}),
    ("table-question-answering", ({"table": TABLE, "query": "q"},), {}, {"table": TABLE, "query": "q"}, {}),
    # decision
    ("decision", ({"state": "s", "questions": {}},), {}, {"state": "s", "questions": {}}, {}),
    (
        "decision",
        ("s",),
        {"questions": {"a": 1}, "assets": {"b": 2}},
        {"state": "s", "questions": {"a": 1}, "assets": {"b": 2}},
        {},
    ),
    ("decision", ("s",), {}, "s", {}),
]


@pytest.mark.parametrize(("task", "args", "kwargs", "item", "parameters"), FORMS)
def test_every_call_form_of_the_pipeline_is_taken(
    task: str, args: Any, kwargs: dict[str, Any], item: Any, parameters: dict[str, Any]
) -> None:
    before = dict(kwargs)
    assert split(task, *args, **kwargs) == (item, parameters)
    assert kwargs == before


@pytest.mark.parametrize("task", sorted(TASKS))
def test_a_call_without_input_is_a_type_error(task: str) -> None:
    with pytest.raises(TypeError):
        split(task)


def test_a_decision_without_its_state_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        split("decision", questions={"a": 1})


@pytest.mark.parametrize(
    ("task", "args"),
    [
        ("fill-mask", ("a", "b")),
        ("image-classification", (IMAGE, OTHER)),
        ("zero-shot-classification", ("a", ["x"], "more")),
        ("question-answering", ("q", "c", "more")),
        ("visual-question-answering", (IMAGE, "q", "more")),
        ("text-classification", ("a", "b", "more")),
        ("decision", ("s", "more")),
    ],
)
def test_more_positions_than_the_pipeline_takes_are_a_type_error(task: str, args: Any) -> None:
    with pytest.raises(TypeError):
        split(task, *args)


@pytest.mark.parametrize(
    "kwargs", [{"question": ["q", "r"], "context": ["c"]}, {"question": ["q"], "context": ["c", "d"]}]
)
def test_lists_of_different_lengths_are_refused(kwargs: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        split("question-answering", **kwargs)


# --- files ---

PHOTO, FILM, SOUND = (TASKS[f"{kind}-classification"].inputs for kind in ("image", "video", "audio"))


@pytest.mark.parametrize("make", [str, Path], ids=["str", "Path"])
@pytest.mark.parametrize(("form", "kind"), [(PHOTO, "image"), (FILM, "video"), (SOUND, "audio")])
def test_a_local_file_is_read_on_the_callers_side(tmp_path: Path, make: Any, form: Any, kind: Any) -> None:
    (tmp_path / "a file.bin").write_bytes(b"\x00data")
    assert load_media(form, make(tmp_path / "a file.bin")) == Media(b"\x00data", kind, "inputs")


@pytest.mark.parametrize("make", [str, Path], ids=["str", "Path"])
@pytest.mark.parametrize("name", ["no such photo.png", "folder/nothing.png", "photo"])
def test_a_missing_file_is_not_found(tmp_path: Path, make: Any, name: str) -> None:
    with pytest.raises(FileNotFoundError):
        load_media(PHOTO, make(tmp_path / name))


@pytest.mark.parametrize("size", [30, 300, 5000])
@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_base64_of_any_length_is_taken(size: int, prefix: str) -> None:
    data = bytes(size)
    assert load_media(PHOTO, prefix + base64.b64encode(data).decode()).data == data


@pytest.mark.parametrize("name", ["/no/such/photo.png", "file:///etc/hostname"])
def test_a_path_is_never_handed_to_the_server(name: str) -> None:
    with pytest.raises(FileNotFoundError):
        load_media(PHOTO, name)


def test_nonsense_is_refused_by_name() -> None:
    with pytest.raises((InvalidInputError, FileNotFoundError)):
        load_media(PHOTO, "\x00 neither a path nor base64")


@pytest.mark.parametrize("value", [IMAGE, np.zeros(4, np.float32), {"raw": np.zeros(4), "sampling_rate": 8000}])
def test_what_is_decoded_already_stays(value: Any) -> None:
    assert load_media(PHOTO if value is IMAGE else SOUND, value) is value


def test_bytes_are_the_file() -> None:
    assert load_media(SOUND, b"x") == Media(b"x", "audio", "inputs")


def test_a_url_is_read_on_the_callers_side(monkeypatch: pytest.MonkeyPatch) -> None:
    def get(url: str, **_: Any) -> httpx.Response:
        return httpx.Response(200 if "good" in url else 404, content=PNG, request=httpx.Request("GET", url))

    monkeypatch.setattr(arguments.httpx, "get", get)
    assert load_media(PHOTO, "http://site.example/good.png") == Media(PNG, "image", "inputs")
    with pytest.raises(httpx.HTTPError):
        load_media(PHOTO, "http://site.example/bad.png")


def test_files_are_read_in_pairs_fields_and_lists(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    pair = load_media(TASKS["keypoint-matching"].inputs, (str(path), IMAGE))
    assert [pair[0].data, pair[1]] == [PNG, IMAGE]
    asked = load_media(TASKS["visual-question-answering"].inputs, {"image": str(path), "question": str(path)})
    assert (asked["image"].data, asked["question"]) == (PNG, str(path))
    several = load_media(TASKS["image-text-to-text"].inputs, {"images": [str(path), IMAGE], "text": "a"})
    assert (several["images"][0].data, several["images"][1], several["text"]) == (PNG, IMAGE, "a")


@pytest.mark.parametrize("key", ["image", "url", "path"])
def test_files_are_read_in_chats(tmp_path: Path, key: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    parts = [{"type": "text", "text": "what?"}, {"type": "image", key: str(path)}]
    chat = [{"role": "user", "content": parts}, {"role": "assistant", "content": "a cat"}]
    found = load_media(TASKS["image-text-to-text"].inputs, chat)
    assert found[0]["content"][0] == parts[0]
    assert found[0]["content"][1]["image"].data == PNG
    assert found[1] == chat[1]
    assert parts[1] == {"type": "image", key: str(path)}


def test_a_data_frame_becomes_columns_of_strings() -> None:
    frame = pd.DataFrame({"City": ["Oslo", "Rome"], "Rivers": [1, 2]})
    found = load_media(TASKS["table-question-answering"].inputs, {"table": frame, "query": "q"})
    assert found == {"table": {"City": ["Oslo", "Rome"], "Rivers": ["1", "2"]}, "query": "q"}


def test_text_that_looks_like_a_file_stays_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("secret")
    for task in ("fill-mask", "text-generation", "text-classification", "token-classification"):
        assert load_media(TASKS[task].inputs, str(path)) == str(path)
