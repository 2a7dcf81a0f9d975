"""CTranslate2's ``model.bin``, binary format 6: bytes in, named numpy arrays out.

Layout, little endian: u32 format; string specification; u32 its revision; u32 count of tensors; for each: string name,
u8 rank, u32 per dimension, u8 type, u32 bytes, the bytes; u32 count of aliases; for each: string alias, string tensor.
A string is u16 length with its closing zero byte, then the bytes. Source: ``ModelSpec._serialize`` in
``ctranslate2/specs/model_spec.py`` of the CTranslate2 project.
"""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Tensors = Mapping[str, Array]

FORMAT = 6
DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}


class _Cursor:
    """A place in the file's bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def integer(self, code: str) -> int:
        """Read one integer; ``code`` as in ``struct``: B, H or I."""
        (value,) = struct.unpack_from("<" + code, self.data, self.at)
        self.at += struct.calcsize("<" + code)
        return int(value)

    def string(self) -> str:
        length = self.integer("H")
        self.at += length
        return self.data[self.at - length : self.at - 1].decode()

    def array(self) -> Array:
        shape = [self.integer("I") for _ in range(self.integer("B"))]
        dtype = np.dtype(DTYPES[self.integer("B")])
        size = self.integer("I")
        self.at += size
        return np.frombuffer(self.data, dtype, size // dtype.itemsize, self.at - size).reshape(shape)


def read(path: Path, specification: str) -> Tensors:
    """Read every tensor of a ``model.bin``.

    Args:
        path: the file; read into memory whole, the arrays are read-only views of it.
        specification: what the file must call itself, such as ``WhisperSpec``.

    Returns:
        Arrays by name, aliases included; scalars have shape ().

    Raises:
        ValueError: another format, another specification, or weights stored in 8 or 16 bit integers with a scale.
    """
    cursor = _Cursor(path.read_bytes())
    found = cursor.integer("I"), cursor.string()
    if found != (FORMAT, specification):
        raise ValueError(f"{path} is {found}; this reader knows {(FORMAT, specification)}")
    cursor.integer("I")  # revision of the specification
    tensors = {cursor.string(): cursor.array() for _ in range(cursor.integer("I"))}
    for _ in range(cursor.integer("I")):
        alias, name = cursor.string(), cursor.string()
        tensors[alias] = tensors[name]
    if scaled := [name for name in tensors if name.endswith("weight_scale")]:
        raise ValueError(f"{path} holds quantised weights ({scaled[0]}, …); this reader takes float ones only")
    return tensors
