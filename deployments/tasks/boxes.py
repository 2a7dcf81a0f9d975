"""The form of the words of a document."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from deployments.tasks.forms import Form, Schema


@dataclass(frozen=True)
class WordBoxes(Form):
    """The words of a document with their places, with which models look up rows of tables: on a GPU, unchecked."""

    says = (
        "a list of [word, [left, top, right, bottom]], the numbers whole, from 0 to 1000 of the page's width and "
        "height, left and top not above right and bottom"
    )

    def read(self, value: Any, path: str) -> Any:
        if not isinstance(value, list | tuple):
            raise self._refuse(value, path)
        for index, pair in enumerate(value):
            if not self._is_word(pair):
                raise self._refuse(pair, f"{path}[{index}]")
        return value

    def _is_word(self, pair: Any) -> bool:
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not isinstance(pair[0], str):
            return False
        box = pair[1].tolist() if isinstance(pair[1], np.ndarray) else pair[1]
        if not isinstance(box, list | tuple) or len(box) != 4:
            return False
        if any(isinstance(at, bool) or not isinstance(at, int | np.integer) or not 0 <= at <= 1000 for at in box):
            return False
        return bool(box[0] <= box[2] and box[1] <= box[3])

    def schema(self) -> Schema:
        box = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 1000}}
        word = {"type": "array", "prefixItems": [{"type": "string"}, {**box, "minItems": 4, "maxItems": 4}]}
        return {
            "description": f"{self.says.capitalize()}.",
            "type": "array",
            "items": {**word, "minItems": 2, "maxItems": 2},
        }
