"""Forms of parameter values: numbers, flags, choices, and what is made of them.

They check and describe, and change nothing: over a Python handle a value may as well be a numpy scalar, a tuple, an
array or a tensor, and reaches the pipeline as it is.
"""

import enum
import string
from dataclasses import dataclass
from typing import Any

import numpy as np

from deployments.errors import InvalidInputError
from deployments.payload import Tensor
from deployments.tasks.forms import Any_, Form, Schema

_MOST = 2**31 - 1  # torch and the tokenizers count in 32 bits


@dataclass(frozen=True)
class Flag(Form):
    """True or false."""

    says = "true or false"

    def read(self, value: Any, path: str) -> Any:
        if isinstance(value, bool | np.bool_):
            return value
        raise self._refuse(value, path)

    def schema(self) -> Schema:
        return {"type": "boolean"}


@dataclass(frozen=True)
class Number(Form):
    """A number from ``least`` to ``most``, both included; ``above`` and ``below`` exclude theirs."""

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    whole: bool = False

    @property
    def says(self) -> str:  # type: ignore[override]
        bounds = [
            f"{word} {bound:.10g}"
            for word, bound in (
                ("of at least", self.least),
                ("above", self.above),
                ("of at most", self.most),
                ("below", self.below),
            )
            if bound is not None and abs(bound) != _MOST  # which nobody means
        ]
        return " ".join(["a whole number" if self.whole else "a number", " and ".join(bounds)]).rstrip()

    def read(self, value: Any, path: str) -> Any:
        kinds = int | np.integer if self.whole else int | float | np.integer | np.floating
        if isinstance(value, bool) or not isinstance(value, kinds) or not self._is_within(value):
            raise self._refuse(value, path)
        return value

    def _is_within(self, value: Any) -> bool:
        return (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def schema(self) -> Schema:
        bounds = {
            "minimum": self.least,
            "maximum": self.most,
            "exclusiveMinimum": self.above,
            "exclusiveMaximum": self.below,
        }
        kind = "integer" if self.whole else "number"
        return {"type": kind, **{name: bound for name, bound in bounds.items() if bound is not None}}


def whole(least: int = -_MOST, most: int = _MOST) -> Number:
    """A whole number of 32 bits."""
    return Number(least, most, whole=True)


@dataclass(frozen=True)
class String(Form):
    """Any string; with ``most``, one of so many characters at most."""

    most: int | None = None

    @property
    def says(self) -> str:  # type: ignore[override]
        return "a string" + f" of at most {self.most} characters" * (self.most is not None)

    def read(self, value: Any, path: str) -> Any:
        if isinstance(value, str) and (self.most is None or len(value) <= self.most):
            return value
        raise self._refuse(value, path)

    def schema(self) -> Schema:
        return {"type": "string", **({} if self.most is None else {"maxLength": self.most})}


@dataclass(frozen=True)
class Template(Form):
    """A sentence with one gap, ``{}``: a gap that says how it is filled could ask for any number of characters."""

    says = "a string with one '{}' in it and no other brace, unless it is doubled"

    def read(self, value: Any, path: str) -> Any:
        try:
            parts = list(string.Formatter().parse(value)) if isinstance(value, str) else []
        except ValueError:
            parts = []
        if [part[1:] for part in parts if part[1] is not None] == [("", "", None)]:
            return value
        raise self._refuse(value, path)

    def schema(self) -> Schema:
        return {"type": "string", "pattern": r"^([^{}]|\{\{|\}\})*\{\}([^{}]|\{\{|\}\})*$"}


@dataclass(frozen=True)
class Choice(Form):
    """One of a few strings; upper and lower case are the same where ``any_case``."""

    values: tuple[str, ...]
    any_case: bool = False

    @property
    def says(self) -> str:  # type: ignore[override]
        return " or ".join(f'"{value}"' for value in self.values)

    def read(self, value: Any, path: str) -> Any:
        if isinstance(value, str) and (value.lower() if self.any_case else value) in self.values:
            return value
        raise self._refuse(value, path)

    def schema(self) -> Schema:
        return {"type": "string", "enum": [*self.values]}


@dataclass(frozen=True)
class Items(Form):
    """A list of values of one form, ``count`` of them where that is fixed, ``most`` at most; or an array."""

    form: Form
    count: int | None = None
    most: int | None = None

    @property
    def says(self) -> str:  # type: ignore[override]
        length = f" of {self.count}" * (self.count is not None) + f" of at most {self.most}" * (self.most is not None)
        return f"a list{length}, each {self.form.says}"

    def read(self, value: Any, path: str) -> Any:
        if isinstance(value, np.ndarray | Tensor):
            return value
        if not isinstance(value, list | tuple) or self.count not in (None, len(value)):
            raise self._refuse(value, path)
        if self.most is not None and len(value) > self.most:
            raise self._refuse(value, path)
        for index, item in enumerate(value):
            self.form.read(item, f"{path}[{index}]")
        return value

    def schema(self) -> Schema:
        length = {} if self.count is None else {"minItems": self.count, "maxItems": self.count}
        length |= {} if self.most is None else {"maxItems": self.most}
        return {"type": "array", "items": self.form.schema(), **length}


@dataclass(frozen=True)
class Object(Form):
    """An object, whatever is in it."""

    says = "an object"

    def read(self, value: Any, path: str) -> Any:
        if isinstance(value, dict):
            return value
        raise self._refuse(value, path)

    def schema(self) -> Schema:
        return {"type": "object"}


@dataclass(frozen=True)
class OneOf(Form):
    """A value of one of several forms."""

    forms: tuple[Form, ...]

    @property
    def says(self) -> str:  # type: ignore[override]
        return " or ".join(form.says for form in self.forms)

    def read(self, value: Any, path: str) -> Any:
        for form in self.forms:
            try:
                return form.read(value, path)
            except InvalidInputError as error:
                if isinstance(value, dict) and error.field != path:  # it is of this form, and a part of it is wrong
                    raise
        raise self._refuse(value, path)

    def schema(self) -> Schema:
        return {"anyOf": [form.schema() for form in self.forms]}


@dataclass(frozen=True)
class Null(Form):
    """Nothing: as if the parameter were not given. Over a handle, an enumeration of transformers too."""

    says = "null"

    def read(self, value: Any, path: str) -> Any:
        if value is None or isinstance(value, enum.Enum):
            return value
        raise self._refuse(value, path)

    def schema(self) -> Schema:
        return {"type": "null"}


def nullable(form: Form) -> Form:
    """``form``, or null."""
    return form if isinstance(form, Null | Any_) else OneOf((form, Null()))
