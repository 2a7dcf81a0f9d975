"""Which inputs of a served pipeline are a dataset, to be answered one by one as it is read, and reading its items.

As for the local pipeline, these are generators and datasets of torch, ``KeyDataset`` among them; also those of the
library ``datasets``, map-style and streaming, their columns, and any other iterator. None of these libraries is
imported.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL.Image import Image

from deployments.payload import Media

_ONE = (str, bytes, dict, list, tuple, Path, Image, Media, np.ndarray)


def is_dataset(value: Any) -> bool:
    """Whether ``value`` is read item by item."""
    if isinstance(value, _ONE) or type(value).__module__.partition(".")[0] == "pandas":
        return False
    if hasattr(value, "detach") or hasattr(value, "get_all_samples"):  # a tensor, a sound of `datasets`
        return False
    if hasattr(value, "__iter__"):
        return True
    return hasattr(value, "__getitem__") and hasattr(value, "__len__")


def items_of(dataset: Any) -> Iterator[Any]:
    """The items of ``dataset``, in order; a torch dataset may have only numbered ones."""
    if hasattr(dataset, "__iter__"):
        yield from dataset
        return
    for index in range(len(dataset)):
        yield dataset[index]


class Rows:
    """Inputs of named parts, some of which are datasets: one input for each of their items, the other parts in all.

    Args:
        parts: by name; at least one is a dataset.
    """

    def __init__(self, parts: Mapping[str, Any]) -> None:
        self._parts = parts
        self._read = [name for name, part in parts.items() if is_dataset(part)]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        columns: list[Iterable[Any]] = [items_of(self._parts[name]) for name in self._read]
        for values in zip(*columns, strict=True):
            yield {**self._parts, **dict(zip(self._read, values, strict=True))}

    def __len__(self) -> int:
        return len(self._parts[self._read[0]])


def as_dataset(given: Any) -> Any:
    """``given`` as a dataset, or None where it is none."""
    if is_dataset(given):
        return given
    if isinstance(given, dict) and any(is_dataset(part) for part in given.values()):
        return Rows(given)
    return None
