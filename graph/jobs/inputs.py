"""Columns of a row → the input and the parameters of its call."""

from collections.abc import Mapping, Sequence
from typing import Any

from deployments.errors import ConfigError, InvalidInputError
from deployments.tasks import TaskSpec
from graph.arguments import load_media
from graph.decode import read_item
from graph.jobs.rows import Window
from graph.jobs.settings import Columns
from graph.parts import fields_of, files_of

_USUAL = ("inputs", "text", "input", "prompt", "messages", "sentence", "content")


def mapped(spec: TaskSpec, columns: Columns, names: Sequence[str]) -> str | dict[str, str]:
    """The column of the input, or the columns of its parts; guessed where ``columns`` leaves it open.

    Args:
        spec: the task.
        columns: as asked for.
        names: of the table's columns.

    Raises:
        ConfigError: a column does not exist, or none can be guessed.
    """
    inputs = columns.inputs
    chosen = [inputs] if isinstance(inputs, str) else [*inputs.values()] if inputs is not None else []
    for name in [*chosen, *columns.parameters.values()]:
        if name not in names:
            raise ConfigError(f"There is no column {name!r}; there are: {', '.join(names)}.")
    if (given := _given(inputs)) is not None:
        return given
    fields = fields_of(spec.inputs)
    if fields is not None and fields.bare is None:
        parts = {name: name for name in fields.names if name in names}
        if set(fields.required) <= set(parts):
            return parts
    usual = [name for name in (*files_of(spec.inputs), *_USUAL) if name in names]
    if usual or len(names) == 1:
        return usual[0] if usual else names[0]
    raise ConfigError(f"Say which column is the input (--column); there are: {', '.join(names)}.")


def _given(inputs: str | Mapping[str, str] | None) -> str | dict[str, str] | None:
    return dict(inputs) if isinstance(inputs, Mapping) else inputs


class RowReader:
    """Reads the rows of a window; one row is only looked at when it is asked for.

    Args:
        spec: the task.
        columns: of the rows.
        window: the rows.
        checked: whether the columns were found to be there in other rows: those that lack one have null there.

    Raises:
        ConfigError: the columns do not fit.
    """

    def __init__(self, spec: TaskSpec, columns: Columns, window: Window, checked: bool = False) -> None:
        self._spec = spec
        self._window = window
        self.named = frozenset(columns.parameters)
        self._parameters: Mapping[str, str] = columns.parameters
        table = window.table
        names = table.column_names
        self._inputs: str | dict[str, str] | None = None
        if window.files is None:
            known = checked and columns.inputs is not None
            self._inputs = _given(columns.inputs) if known else mapped(spec, columns, names)
        if isinstance(self._inputs, dict):
            needed = list(self._inputs.values())
        else:
            needed = [] if self._inputs is None else [self._inputs]
        self._cells = {name: table.column(name) for name in {*needed, *columns.parameters.values()} if name in names}

    def given(self, row: int) -> Any:
        """The input as the row has it."""
        if self._window.files is not None:
            return self._window.files[row]()
        if isinstance(self._inputs, dict):
            return {part: self._cell(name, row) for part, name in self._inputs.items()}
        assert self._inputs is not None
        found = self._cell(self._inputs, row)
        if found is None:
            raise InvalidInputError(f"The column {self._inputs!r} is null in this row.", "inputs")
        return found

    def input(self, row: int) -> Any:
        """The input of a row in the call form of the task, its files read.

        Raises:
            PipelineGraphError, OSError: it is not what the task takes, or a file cannot be read.
        """
        return read_item(self._spec.inputs, load_media(self._spec.inputs, self.given(row)), {}, "inputs")

    def parameters(self, row: int) -> dict[str, Any]:
        """The parameters that a row brings."""
        found = {name: self._cell(column, row) for name, column in self._parameters.items()}
        return {name: value for name, value in found.items() if value is not None}

    def _cell(self, name: str, row: int) -> Any:
        return _cell(self._cells[name][row].as_py()) if name in self._cells else None


def _cell(value: Any) -> Any:
    """A cell as a pipeline takes it: what is null inside of an object was not there."""
    if isinstance(value, dict):
        if value.keys() == {"bytes", "path"}:  # an image or a sound as `datasets` keeps it
            return value
        return {name: _cell(part) for name, part in value.items() if part is not None}
    if isinstance(value, list):
        return [_cell(part) for part in value]
    return value
