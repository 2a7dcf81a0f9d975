"""JSON whose parsing would cost more than its bytes: refused by looking at the text."""

import json
import tracemalloc
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deployments.errors import MalformedRequestError, PayloadTooLargeError, RequestError
from graph.json_body import MAX_DEPTH, MAX_VALUES, parse_json


def nested(depth: int, opening: str = "[", closing: str = "]", inner: str = "1") -> bytes:
    return (opening * depth + inner + closing * depth).encode()


@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        ("[", "]"),
        ('{"a":', "}"),
        ("[1,", "]"),
        ('[{"a":', "}]"),
    ],
)
def test_the_limit_of_depth_is_exact(opening: str, closing: str) -> None:
    deepest = MAX_DEPTH // (opening.count("[") + opening.count("{"))
    assert parse_json(nested(deepest, opening, closing)) is not None
    with pytest.raises(MalformedRequestError, match="nested too deeply"):
        parse_json(nested(deepest + 1, opening, closing))


def test_brackets_inside_of_strings_are_text() -> None:
    for text in ("[" * 5000, "{" * 5000, '\\"[' * 500, "\\" * 1000, '"' + "[" * 200, "a\\" * 99 + "]" * 99):
        assert parse_json(json.dumps([text, [text]]).encode()) == [text, [text]]


def test_breadth_is_not_depth() -> None:
    value = [[] for _ in range(10_000)]
    assert parse_json(json.dumps({"a": value, "b": [{"c": value}]}).encode()) == {"a": value, "b": [{"c": value}]}


@pytest.mark.parametrize("piece", [b"[],", b"{},", b"0,", b'"",', b'{"":0},', b"[0],"])
def test_too_many_values_are_refused_before_they_are_made(piece: bytes) -> None:
    body = b"[" + piece * MAX_VALUES + b"0]"
    tracemalloc.start()
    with pytest.raises(PayloadTooLargeError, match=f"{MAX_VALUES} values"):
        parse_json(body)
    assert tracemalloc.get_traced_memory()[1] < 2 * len(body) + 16 * 2**20
    tracemalloc.stop()


def test_commas_inside_of_strings_are_no_values() -> None:
    text = "," * (2 * MAX_VALUES)
    assert parse_json(json.dumps({"inputs": text}).encode()) == {"inputs": text}


def test_as_many_values_as_are_allowed_are_read() -> None:
    assert len(parse_json(b"[" + b"0," * (MAX_VALUES - 2) + b"0]")) == MAX_VALUES - 1


QUOTES = [b'"' + b'\\"' * 3_000_000, b'"\\' * 3_000_000, b"\\" * 6_000_000, b'"' * 5_000_001, b'[",' * 2_000_000]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("body", QUOTES, ids=lambda body: ascii(body[:6]))
def test_no_pattern_of_quotes_takes_longer_than_its_length(body: bytes) -> None:
    """Looked at again from each quote on, millions of them would take days."""
    with pytest.raises(RequestError):
        parse_json(b"[" * 100 + body + b"," * (MAX_VALUES + 1))


@pytest.mark.parametrize("text", ["\ufeff[1]", '["\\ud83d\\ude00"]', '["\U0001f600"]', '["\\\\ud83d"]'])
def test_text_is_read_as_json_reads_it(text: str) -> None:
    assert parse_json(text.encode()) == json.loads(text.removeprefix("\ufeff"))


@pytest.mark.parametrize(
    "body", [b'["\\ud83d"]', b'["\\uDE00"]', b'["\xed\xa0\xbd"]', '["a"]'.encode("utf-16"), b'["\xff"]']
)
def test_what_is_no_text_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedRequestError):
        parse_json(body)


TEXT = st.text(max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None, database=None, derandomize=True)
@given(JSON, st.booleans(), st.sampled_from([b"", b"[" * 65 + b"0" + b"]" * 65]))
def test_all_other_json_is_read(value: Any, escaped: bool, deep: bytes) -> None:
    """Halves of surrogates aside, which `st.text` does not make."""
    body = json.dumps(value, ensure_ascii=escaped).encode()
    assert parse_json(body) == json.loads(body)
    # a string with too deep a text in it, so that the text is looked at
    quoted = b"[" + body + b"," + json.dumps(deep.decode()).encode() + b"]"
    assert parse_json(quoted) == json.loads(quoted)


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(st.text(alphabet='[]{}",:\\0ae ').map(str.encode) | st.binary())
@example(b"[" * 10**5)
@example(b"]" * 10**5)
@example(b"[]" * 10**5)
def test_any_bytes_are_read_as_json_reads_them_or_refused(body: bytes) -> None:
    with suppress(RequestError):
        assert parse_json(body) == json.loads(body)
