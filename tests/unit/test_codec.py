"""The typed format: what goes in comes out, type for type, and what a caller makes up is refused."""

import base64
import contextlib
import io
import json
import math
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from deployments.codec import from_json, to_json
from deployments.errors import MalformedRequestError
from deployments.payload import Media, Tensor

DTYPES = [
    f"{order}{kind}" for order in "<>" for kind in ("i2", "i4", "i8", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16")
]
DTYPES += ["?", "i1", "u1"]
MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I", "F", "CMYK", "YCbCr", "HSV"]


def there_and_back(value: Any) -> Any:
    return from_json(json.loads(json.dumps(to_json(value), allow_nan=False)))


def same(left: Any, right: Any) -> bool:
    """Equal in value and in type, all the way down."""
    if type(left) is not type(right):
        return False
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return same(list(left.items()), list(right.items()))
    if isinstance(left, np.ndarray):
        return (left.dtype.name, left.shape) == (right.dtype.name, right.shape) and bool(
            np.array_equal(left, right, equal_nan=left.dtype.kind in "fc")
        )
    if isinstance(left, Tensor):
        return left.dtype == right.dtype and same(left.array, right.array)
    if isinstance(left, float):
        return (left == right and math.copysign(1, left) == math.copysign(1, right)) or (
            left != left and right != right
        )
    return bool(left == right)


KEYS = st.text(max_size=5) | st.just("$type") | st.integers() | st.booleans() | st.none() | st.tuples(st.integers())
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.builds(Media, st.binary(), st.sampled_from(["image", "audio", "video"]))
    | st.sampled_from([np.float32(1.5), np.float64(0.1), np.int64(-3), np.bool_(True), np.uint8(255), np.float16(2)])
    | st.lists(st.floats(width=32), max_size=4).map(lambda items: np.array(items, np.float32))
    | st.lists(st.floats(width=32), max_size=4).map(lambda items: Tensor(np.array(items, np.float32), "bfloat16"))
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.lists(inner, max_size=4).map(tuple) | st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=15,
)


@settings(max_examples=300, deadline=None)
@given(VALUES)
def test_nested_values_come_back_type_for_type(value: Any) -> None:
    found = there_and_back(value)
    assert same(found, value), (found, value)


@pytest.mark.parametrize("key", ["$type", 1, None, True, (1, "a")])
def test_dictionary_with_any_key_comes_back(key: Any) -> None:
    value = {"plain": 1, key: "tuple", "inner": {key: [key]}}
    assert same(there_and_back(value), value)


def test_plain_json_is_written_as_it_is() -> None:
    value = {"a": [1, 2.5, "x", None, True, {"b": {}}]}
    assert to_json(value) == value


def test_integer_and_string_subclasses_become_plain() -> None:
    assert same(there_and_back([np.str_("a"), 2**80]), ["a", 2**80])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "make",
    [
        lambda a: a,
        lambda a: a[:1, :1].reshape(()),
        lambda a: a[:0],
        lambda a: a[:, :0],
        lambda a: a[::2, ::-1],
        lambda a: a.T,
        lambda a: np.asfortranarray(a),
        lambda a: np.broadcast_to(a[0], (3, 4)),
    ],
    ids=["2d", "0d", "empty", "no-columns", "strided", "transposed", "fortran", "broadcast"],
)
def test_array_of_any_number_type_and_layout_comes_back(dtype: str, make: Any) -> None:
    array = make((np.arange(12).reshape(3, 4) % 5 - (1 if np.dtype(dtype).kind in "if" else 0)).astype(dtype))
    found = there_and_back(array)
    assert same(found, array)
    found[...] = 0  # the caller owns it: some pipelines write into their inputs


@pytest.mark.parametrize("dtype", DTYPES)
def test_numpy_scalar_of_any_number_type_comes_back(dtype: str) -> None:
    scalar = np.array([2], dtype)[0]
    found = there_and_back(scalar)
    assert (type(found), found) == (type(scalar), scalar)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308])
def test_every_float_comes_back(value: float) -> None:
    assert same(there_and_back(value), value)


def test_special_floats_in_arrays_come_back() -> None:
    array = np.array([math.nan, math.inf, -math.inf, -0.0])
    assert same(there_and_back(array), array)


def _picture(mode: str) -> Image.Image:
    noise = np.random.default_rng(3).integers(0, 256, (5, 7, 4), dtype=np.uint8)
    if mode in ("I;16", "I", "F"):
        dtype = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        return Image.fromarray((noise[..., 0].astype(np.int64) * 257 - (100 if mode != "I;16" else 0)).astype(dtype))
    if mode in ("LA", "RGBA"):
        return Image.fromarray(noise).convert(mode)
    return Image.fromarray(noise[..., :3]).convert(mode)


@pytest.mark.parametrize("mode", MODES)
def test_image_of_any_mode_comes_back_pixel_for_pixel(mode: str) -> None:
    image = _picture(mode)
    found = there_and_back(image)
    assert (image.mode, found.mode, found.size) == (mode, mode, image.size)
    assert found.tobytes() == image.tobytes()
    assert found.getpalette() == image.getpalette()


def test_transparency_of_a_palette_comes_back() -> None:
    image = _picture("P")
    image.info["transparency"] = 3
    assert there_and_back(image).convert("RGBA").tobytes() == image.convert("RGBA").tobytes()


def test_rotation_noted_in_a_photo_comes_back() -> None:
    """The local pipeline turns a photo by its EXIF note, so the served one must see the note or a turned image."""
    image = _picture("RGB")
    exif = image.getexif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    image.save(buffer, "PNG", exif=exif)
    photo = Image.open(buffer)
    turned = ImageOps.exif_transpose(photo)
    assert turned.size == image.size[::-1]
    assert ImageOps.exif_transpose(there_and_back(photo)).tobytes() == turned.tobytes()


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1, 2},
        np.array(["a"]),
        np.array([object()]),
        np.datetime64("2020-01-01"),
        np.bytes_(b"a"),
        [lambda: 0],
    ],
)
def test_type_that_the_format_lacks_is_refused_when_written(value: Any) -> None:
    with pytest.raises(TypeError):
        to_json(value)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def png(width: int, height: int, chunks: bytes = b"") -> bytes:
    """A PNG that claims a size, with hardly any pixels in it."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunks + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


ARRAY = {"$type": "ndarray", "dtype": "float32", "shape": [2], "data": b64(bytes(8))}
SCALAR = {"$type": "scalar", "dtype": "float32", "data": b64(bytes(4))}
PIXELS = {"dtype": "uint8", "shape": [2, 2, 3], "data": b64(bytes(12))}


@pytest.mark.parametrize("value", [ARRAY, SCALAR, {"$type": "image", "mode": "RGB", "array": PIXELS}])
def test_the_honest_forms_of_the_hostile_ones_are_read(value: Any) -> None:
    from_json(value)


@pytest.mark.parametrize(
    "value",
    [
        {"$type": "pickle", "data": ""},
        {"$type": None},
        {"$type": []},
        {"$type": {"$type": "tuple"}},
        {"$type": "tuple"},
        {"$type": "tuple", "items": None},
        {"$type": "dict", "items": [[[1], 2]]},
        {"$type": "dict", "items": [[1, 2, 3]]},
        {"$type": "dict", "items": 5},
        {"$type": "float", "value": "1.5"},
        {"$type": "float", "value": []},
        {"$type": "bytes", "data": "a"},
        {"$type": "bytes", "data": "@@@@"},
        {"$type": "bytes", "data": 5},
        {"$type": "bytes", "data": "é"},
        {"$type": "media", "kind": "image", "data": "*"},
        {"$type": "media", "kind": "program", "data": "AAAA"},
        {"$type": "media", "kind": None, "data": "AAAA"},
        {"$type": "media", "kind": [], "data": "AAAA"},
        *(
            ARRAY | {"dtype": dtype}
            for dtype in ("O", "object", "V4", "U2", "S8", "M8[s]", "m8", "f4,f4", "(2,)f4", "zz", "(2", 5, [], {})
        ),
        *(
            ARRAY | {"shape": shape}
            for shape in ([3], [2, 2], [2**70], [10**9, 10**9], [1e999], [None], [[2]], None, {"a": 2}, [1] * 70)
        ),
        ARRAY | {"data": b64(bytes(7))},
        ARRAY | {"data": "@@@@", "shape": [0]},
        ARRAY | {"data": None},
        SCALAR | {"data": ""},
        SCALAR | {"data": b64(bytes(3))},
        SCALAR | {"dtype": "O"},
        {"$type": "tensor", **{key: ARRAY[key] for key in ("shape", "data")}, "dtype": "O", "torch": "float32"},
        {"$type": "image"},
        {"$type": "image", "mode": "RGB", "data": b64(b"GIF89a")},
        {"$type": "image", "mode": "RGB", "data": b64(png(8, 8))},
        {"$type": "image", "mode": "RGB", "data": b64(png(8, 8))[:40]},
        {"$type": "image", "mode": "RGB", "data": b64(png(8, 8, b"\0\0\0\x01\xe1\x1e\x03\xb7abcde"))},
        {"$type": "image", "mode": "no such mode", "data": b64(png(1, 1))},
        {"$type": "image", "mode": "RGB", "array": PIXELS | {"dtype": "O"}},
        {"$type": "image", "mode": "RGB", "array": PIXELS | {"shape": [12]}},
        {"$type": "image", "mode": "F", "array": PIXELS},
        {"$type": "image", "mode": "RGB", "array": 5},
    ],
    ids=lambda value: json.dumps(value)[:100],
)
def test_made_up_value_is_malformed(value: Any) -> None:
    for wrapped in (value, [value], {"inputs": {"$type": "tuple", "items": [value]}}):
        with pytest.raises(MalformedRequestError):
            from_json(wrapped)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(10_000, 10_000), (20_000, 20_000), (2**31 - 1, 2**31 - 1)])
def test_image_that_would_fill_the_memory_is_malformed(size: tuple[int, int]) -> None:
    with pytest.raises(MalformedRequestError):
        from_json({"$type": "image", "mode": "RGB", "data": b64(png(*size))})


def test_damaged_image_is_read_or_malformed() -> None:
    buffer, chance = io.BytesIO(), np.random.default_rng(1)
    _picture("RGB").save(buffer, "PNG")
    for _ in range(1500):
        damaged = bytearray(buffer.getvalue())
        for place in chance.integers(8, len(damaged), 3):
            damaged[place] = chance.integers(0, 256)
        with contextlib.suppress(MalformedRequestError):
            from_json({"$type": "image", "mode": "RGB", "data": b64(bytes(damaged))})


MADE_UP = st.fixed_dictionaries(
    {"$type": st.sampled_from(["tuple", "ndarray", "tensor", "scalar", "image", "media", "float", "bytes", "dict"])},
    optional={
        "items": st.none()
        | st.integers()
        | st.text(max_size=3)
        | st.lists(st.lists(st.integers() | st.text(), max_size=3), max_size=3),
        "dtype": st.sampled_from(["float32", "O", "u1", "U1", "f4,f4", None, "<i8", "?"]) | st.text(max_size=4),
        "shape": st.lists(st.integers() | st.floats() | st.none(), max_size=3) | st.integers() | st.text(max_size=2),
        "data": st.binary(max_size=16).map(b64) | st.text(max_size=8) | st.none() | st.integers(),
        "mode": st.sampled_from(["RGB", "L", "F", "I;16", "1", None, 3]) | st.text(max_size=3),
        "array": st.fixed_dictionaries(
            {
                "dtype": st.just("u1"),
                "shape": st.lists(st.integers(0, 4), max_size=3),
                "data": st.binary(max_size=16).map(b64),
            }
        ),
        "kind": st.sampled_from(["image", "audio", "video", "x", None]),
        "value": st.text(max_size=3) | st.floats() | st.lists(st.none()),
        "torch": st.text(max_size=3) | st.none(),
    },
)


@settings(max_examples=800, deadline=None)
@given(MADE_UP)
def test_no_made_up_value_brings_anything_else(value: Any) -> None:
    with contextlib.suppress(MalformedRequestError):
        from_json(value)
